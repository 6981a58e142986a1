"""Which images are taken: of all stations alike, the newest and some of the oldest, none twice."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from db.snapshot import Candidate, Stretch
from model.alike import Sketch
from workers.snapshot_choice import LOOKS, Choice, choose

SKETCHES = np.random.default_rng(0).normal(0, 20, (64, 3072)).astype(np.float32)


def candidate(number: int, station: str = "a", **changes: Any) -> Candidate:
    values: dict[str, Any] = {"score": 0.1, "model_version": "m", "trusted": False, "against": None}
    values |= {"serial": None, "lot": None, "sha256": f"{station}{number}", **changes}
    return Candidate(id=UUID(int=number + 10_000 * ord(station)), station=station, **values)


def different(some: Sequence[Candidate]) -> list[Sketch | None]:
    """Sketches that are far from each other: no two of a thousand such random ones are near."""
    return [np.random.default_rng(one.id.int % 2**32).normal(0, 20, 3072).astype(np.float32) for one in some]


def chosen(
    stations: Mapping[str, Sequence[Candidate]], look: Any = different, images: int = 40, oldest: float = 0.0
) -> Choice:
    """Choose from the stations' candidates, which are given from the oldest to the newest."""
    stretches = {name: Stretch(list(ones[::-1]), list(ones)) for name, ones in stations.items()}
    return choose(stretches, look, images=images, oldest=oldest, alike=1.0)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 40), max_size=4),
    st.integers(20, 60),
    st.sampled_from([0.0, 0.2, 0.5]),
)
def test_stations_are_balanced_and_nothing_is_lost(there: dict[str, int], images: int, oldest: float) -> None:
    stations = {name: [candidate(n, name) for n in range(many)] for name, many in there.items()}
    choice = chosen(stations, images=images, oldest=oldest)
    assert len(choice.chosen) == min(images, sum(there.values()))
    assert len({one.id for one in choice.chosen}) == len(choice.chosen)
    taken = Counter(one.station for one in choice.chosen)
    for name, many in there.items():
        # One has fewer than another only where it has no more to give.
        assert taken[name] == many or taken[name] >= max(taken.values()) - 1
    assert not choice.left_out


def test_the_newest_are_taken_and_a_share_of_the_oldest() -> None:
    ones = [candidate(n) for n in range(200)]
    assert {one.id for one in chosen({"a": ones}).chosen} == {one.id for one in ones[-40:]}
    taken = [one.id for one in chosen({"a": ones}, oldest=0.2).chosen]
    assert set(taken) == {one.id for one in (*ones[:8], *ones[-32:])}


def test_a_camera_that_sends_the_same_part_does_not_fill_the_set() -> None:
    def still(some: Sequence[Candidate]) -> list[Sketch | None]:
        moving = different(some)
        return [SKETCHES[0] if one.station == "b" else moving[n] for n, one in enumerate(some)]

    both = {name: [candidate(n, name) for n in range(200)] for name in "ab"}
    choice = chosen(both, still)
    assert Counter(one.station for one in choice.chosen) == {"a": 39, "b": 1}
    assert next(one for one in choice.chosen if one.station == "b") == both["b"][-1], "the newest stays"
    assert choice.left_out["duplicates"] == choice.left_out.total()
    # Its looks are bounded by what the others gave.
    assert choice.left_out["duplicates"] <= LOOKS * 40 + 2


def test_a_line_that_stands_still_is_not_looked_at_without_end() -> None:
    looks: list[int] = []

    def still(some: Sequence[Candidate]) -> list[Sketch | None]:
        looks.append(len(some))
        return [SKETCHES[0] for _ in some]

    choice = chosen({"a": [candidate(n) for n in range(10_000)]}, still, images=200)
    assert len(choice.chosen) == 1
    assert sum(looks) <= 3 * (LOOKS + 1) * 200
    assert max(looks) <= 64


def test_identical_files_are_not_even_read() -> None:
    read: list[Candidate] = []

    def look(some: Sequence[Candidate]) -> list[Sketch | None]:
        read.extend(some)
        return different(some)

    choice = chosen({"a": [candidate(n, sha256="same") for n in range(50)]}, look)
    assert len(read) == len(choice.chosen) == 1
    assert choice.left_out == {"duplicates": 49}


def test_what_speaks_against_an_image_is_counted_once() -> None:
    ones = [candidate(0, against="doubted"), candidate(1, against="golden"), candidate(2), candidate(3)]

    def look(some: Sequence[Candidate]) -> list[Sketch | None]:
        return [None if one.id == ones[2].id else SKETCHES[1] for one in some]

    choice = chosen({"a": ones}, look, oldest=0.5)
    assert [one.id for one in choice.chosen] == [ones[3].id]
    assert choice.left_out == {"doubted": 1, "golden": 1, "unreadable": 1}
