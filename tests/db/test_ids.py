"""UUIDv7 as RFC 9562 has it, with time to the microsecond."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import RFC_4122, UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.ids import uuid7, uuid7_time

times = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001  (Hypothesis wants its bounds naive)
    max_value=datetime(9999, 12, 31, 23, 59, 59, 999_999),  # noqa: DTZ001
    timezones=st.just(UTC),
)
entropies = st.binary(min_size=10, max_size=32)


@given(times, entropies)
def test_the_time_comes_back_to_the_microsecond(at: datetime, entropy: bytes) -> None:
    assert uuid7_time(uuid7(at, entropy)) == at


@given(times, entropies)
def test_version_and_variant_are_those_of_the_rfc(at: datetime, entropy: bytes) -> None:
    made = uuid7(at, entropy)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@given(times, times, entropies, entropies)
def test_order_is_the_order_of_time(one: datetime, other: datetime, first: bytes, second: bytes) -> None:
    if one != other:
        assert (uuid7(one, first) < uuid7(other, second)) is (one < other)


@given(times, entropies)
def test_the_same_time_and_entropy_give_the_same_id(at: datetime, entropy: bytes) -> None:
    elsewhere = at.astimezone(timezone(timedelta(hours=-1))) if at.year < 9999 and at.year > 1970 else at
    assert uuid7(at, entropy) == uuid7(elsewhere, entropy)


@given(times, st.integers(0, 2**62 - 1), st.integers(0, 2**62 - 1))
def test_other_entropy_gives_another_id(at: datetime, one: int, other: int) -> None:
    made = {uuid7(at, number.to_bytes(8, "big") + b"\0\0") for number in (one, other)}
    assert len(made) == len({one, other})


def test_ids_made_now_carry_now_and_differ() -> None:
    before = datetime.now(UTC)
    made = [uuid7() for _ in range(1000)]
    assert before <= uuid7_time(made[0]) <= uuid7_time(made[-1]) <= datetime.now(UTC)
    assert len(set(made)) == 1000


def test_the_example_of_the_rfc_is_read() -> None:
    example = UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")  # RFC 9562, appendix A.6
    assert uuid7_time(example).replace(microsecond=0) == datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)


def test_what_makes_no_id_is_refused() -> None:
    now = datetime.now(UTC)
    for at, entropy, reason in (
        (now.replace(tzinfo=None), None, "naive"),
        (datetime(1969, 12, 31, tzinfo=UTC), None, "before 1970"),
        (now, b"123456789", "10 bytes of entropy, not 9"),
    ):
        with pytest.raises(ValueError, match=reason):
            uuid7(at, entropy)
    for value, reason in (
        (uuid4(), "not a UUIDv7"),
        (UUID(int=(2**48 - 1) << 80 | 7 << 76 | 2 << 62), "9999"),
    ):
        with pytest.raises(ValueError, match=reason):
            uuid7_time(value)
