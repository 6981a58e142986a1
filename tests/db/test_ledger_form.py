"""The bytes that are sealed: RFC 8785's JSON, and RFC 6962's trees."""

import hashlib
import json
import math
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from db.ledger import merkle
from db.ledger.canonical import canonical

SAFE = 2**53 - 1
text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-SAFE, SAFE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [0.0, -0.0, 1e-7, 1e-6, 0.0001, 1e16, 1e20, 1e21, 1e22, 1e23, 5e-324, 123456.0, 0.1 + 0.2]
    )
    | text
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)


@given(documents)
def test_the_fast_writer_writes_what_the_library_writes(document: Any) -> None:
    assert canonical(document) == rfc8785.dumps(document)


@given(documents)
def test_a_document_that_went_through_text_keeps_its_form(document: Any) -> None:
    # SQLite keeps JSON as text; keys come back in the order in which they were written.
    assert canonical(json.loads(json.dumps(document))) == canonical(document)


def test_numbers_as_postgresql_gives_them_back_have_the_form_they_were_stored_with() -> None:
    for stored, given_back in ((1e16, 10**16), (1e22, 10**22), (1e23, 10**23), (1.0, 1), (-0.0, 0.0)):
        assert canonical({"n": stored}) == canonical({"n": given_back})
    assert canonical(10**23 + 1) != canonical(10**23)


@pytest.mark.parametrize("odd", [b"\xff", math.nan, math.inf, 2**64 + 1, 10**400, {"\ud800": 1}])
def test_what_no_json_holds_has_a_form_of_its_own(odd: Any) -> None:
    assert json.loads(canonical({"value": odd})) is not None
    assert canonical({"value": odd}) not in {canonical({"value": str(odd)}), canonical({"value": None})}


def reference_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word by word."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + reference_root(leaves[:k]) + reference_root(leaves[k:])).digest()


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=40), st.data())
def test_every_leaf_is_proved_by_its_path_and_by_no_other(contents: list[bytes], data: st.DataObject) -> None:
    leaves = [merkle.leaf_hash(content) for content in contents]
    root = reference_root(leaves)
    rows = merkle.levels(leaves)
    assert merkle.root(leaves) == root
    position = data.draw(st.integers(0, len(leaves) - 1))
    path = merkle.path(rows, position)
    assert len(path) <= math.ceil(math.log2(len(leaves))) if len(leaves) > 1 else not path
    assert merkle.root_from(leaves[position], position, len(leaves), path) == root
    assert merkle.root_from(merkle.leaf_hash(b"other"), position, len(leaves), path) != root
    assert merkle.root_from(leaves[position], position, len(leaves), [*path, root]) is None
    for other in range(len(leaves)):
        if leaves[other] != leaves[position]:
            assert merkle.root_from(leaves[position], other, len(leaves), path) != root
