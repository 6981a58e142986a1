"""What is held out: no serial and no lot on both sides, and neither too few nor too many."""

from collections.abc import Sequence
from random import Random
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.snapshot import Candidate
from workers.snapshot_split import Split, split

Named = tuple[str | None, str | None]
NAMES = st.tuples(st.none() | st.integers(0, 60).map(str), st.none() | st.integers(0, 12).map(str))


def parts(named: Sequence[Named]) -> list[Candidate]:
    return [
        Candidate(UUID(int=n), f"{n:064x}", "s1", serial, lot, 0.1, "m", trusted=False, against=None)
        for n, (serial, lot) in enumerate(named)
    ]


def sides(cut: Split) -> tuple[set[str], set[str]]:
    held_out = {group for group, out in zip(cut.groups, cut.held_out, strict=True) if out}
    return held_out, {group for group, out in zip(cut.groups, cut.held_out, strict=True) if not out}


@settings(max_examples=100, deadline=None)
@given(st.lists(NAMES, max_size=300), st.randoms(use_true_random=False))
def test_no_group_on_both_sides_and_sizes_within_bounds(named: list[Named], random: Random) -> None:
    chosen = parts(named)
    cut = split(chosen)
    held_out, trained = sides(cut)
    assert not held_out & trained
    number, wanted = sum(cut.held_out), max(20, round(0.2 * len(chosen)))
    if len(chosen) < 40:
        assert number == 0
    else:
        assert 20 <= number <= 1.25 * wanted
    if cut.why is None:  # a serial is one group; so is a lot, of parts without one
        for group, one in zip(cut.groups, chosen, strict=True):
            expected = f"serial:{one.serial}" if one.serial else f"lot:{one.lot}" if one.lot else None
            assert expected in (group, None)
    # The same images in any order are split the same way.
    there = {one.id for one, out in zip(chosen, cut.held_out, strict=True) if out}
    random.shuffle(chosen)
    again = split(chosen)
    assert {one.id for one, out in zip(chosen, again.held_out, strict=True) if out} == there


@pytest.mark.parametrize(
    ("named", "by", "why"),
    [
        ([(f"{n // 2}", "L") for n in range(100)], "serial", False),
        ([(None, f"{n // 10}") for n in range(100)], "lot", False),
        ([(f"{n}" if n < 50 else None, f"{n // 10}") for n in range(100)], "serial, else lot", False),
        ([(None, None)] * 100, "image", False),
        ([(None, "L")] * 100, "image", True),
        ([("TEST", f"{n // 10}") for n in range(100)], "image", True),
        ([(f"{n}" if n < 50 else None, "L") for n in range(100)], "serial, else image", True),
        ([(None, f"{n // 30}") for n in range(100)], "image", True),
    ],
)
def test_what_it_is_split_by(named: list[Named], by: str, why: bool) -> None:
    cut = split(parts(named))
    assert cut.by == by
    assert (cut.why is not None) is why
    assert sum(cut.held_out) == 20


def test_why_a_lot_is_not_kept_together_is_told_with_numbers() -> None:
    cut = split(parts([(None, "L")] * 50))
    assert cut.why == "serials or lots make 1 groups, the largest of 50 of 50 images: too few to split by"


def test_of_many_a_few_hundred_are_held_out() -> None:
    assert sum(split(parts([(None, None)] * 4000)).held_out) == 300


def test_what_was_held_out_stays_so_by_and_large_when_the_line_goes_on() -> None:
    named: list[Named] = [(f"{n}", None) for n in range(1300)]
    before, after = parts(named)[:1000], parts(named)[300:]
    (first, _), (second, trained) = sides(split(before)), sides(split(after))
    assert len(first & trained) < 0.15 * len(first & (second | trained))


def test_a_serial_is_not_taken_for_a_lot_of_that_name() -> None:
    cut = split(parts([("A", None), (None, "A"), (None, None)] + [(f"{n}", None) for n in range(60)]))
    assert len(set(cut.groups)) == 63
