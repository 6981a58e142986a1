import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.messages import MAX_IDS, ScoreMessage, UnknownMessageError, messages, version_of

NOW = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)


@given(st.lists(st.uuids(), min_size=1, max_size=200), st.datetimes(timezones=st.just(UTC)))
def test_what_is_queued_is_what_is_read(ids: list[UUID], at: datetime) -> None:
    travelled = [ScoreMessage.from_json(json.loads(json.dumps(one.to_json()))) for one in messages(ids, at)]
    assert [one for message in travelled for one in message.ids] == ids
    assert all(len(message.ids) <= MAX_IDS and message.enqueued_at == at for message in travelled)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["version", "ids", "enqueued_at"]), inner)
        ),
    )
)
def test_anything_else_is_refused_by_name(body: object) -> None:
    with pytest.raises(UnknownMessageError):
        ScoreMessage.from_json(body)


def test_a_later_version_is_refused_rather_than_misread() -> None:
    body = messages([UUID(int=1)], NOW)[0].to_json()
    with pytest.raises(UnknownMessageError, match="version 1"):
        ScoreMessage.from_json({**body, "version": 2})


@pytest.mark.parametrize("version", [None, True, 0, -1, 1.5, "2", 10**9, [2]])
def test_garbage_makes_no_queue_of_its_own(version: object) -> None:
    assert version_of({"version": version, "ids": []}) is None


@pytest.mark.parametrize("count", [0, MAX_IDS + 1])
def test_a_message_carries_1_to_16_ids(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 16"):
        ScoreMessage(tuple(UUID(int=n) for n in range(count)), NOW)
