"""What viewers are handed, and what is kept for them."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import uuid4

from web.live import hub as hubs
from web.live.thumbs import Thumbs


def test_a_slow_viewer_is_handed_the_newest_only() -> None:
    viewer = hubs.Viewer(hubs.Topic("A", 60))
    at = datetime.now(UTC)
    shown = [hubs.Shown(at, {"one": str(n), "same": "x"}, {str(n): "url"}) for n in range(9)]

    async def take() -> list[bytes | None]:
        viewer.show(shown[0])
        taken = [await viewer.next()]
        for one in shown[1:]:
            viewer.show(one)
        taken.append(await viewer.next())
        viewer.end()
        return [*taken, await viewer.next()]

    first, second, over = asyncio.run(take())
    assert first is not None
    assert second is not None
    told = json.loads(second.split(b"data: ")[1])
    assert told["blocks"] == {"one": "8"}
    assert told["pictures"] == {"8": "url"}
    assert over is None
    assert shown[8].since(shown[0]) is second  # whoever saw the same shares the bytes


def test_pictures_are_kept_up_to_a_bound() -> None:
    kept = Thumbs(most_bytes=10_000)
    ids = [uuid4() for _ in range(30)]
    for id_ in ids:
        kept.keep(id_, b"x" * 1000)
    assert [kept.has(id_) for id_ in ids] == [False] * 20 + [True] * 10
    kept.keep(ids[-1], b"y" * 500)
    assert kept.get(ids[-1]) == b"y" * 500
    assert kept.get(ids[20]) is not None
