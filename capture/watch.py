"""Which files of a watched folder are new and completely written."""

import time
from dataclasses import dataclass


@dataclass
class _Seen:
    looks: object
    since: float
    given: bool
    round: int


class Watch:
    """Remembers how each file looked (its size and time of change), and since when it looks so.

    Only its own clock is used: that of a network drive may go wrong.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._seen: dict[str, _Seen] = {}
        self._round = 0

    def is_ready(self, path: str, looks: object, must_settle: bool) -> bool:
        """Say yes once for each look of a file, after it kept that look long enough."""
        now = time.monotonic()
        seen = self._seen.get(path)
        if seen is None or seen.looks != looks:
            seen = self._seen[path] = _Seen(looks, now, False, self._round)
        seen.round = self._round
        if seen.given or (must_settle and now - seen.since < self._settle_s):
            return False
        seen.given = True
        return True

    def forget_absent(self) -> None:
        """Forget the files that the round just ended did not come upon, so that memory stays bounded."""
        self._seen = {path: seen for path, seen in self._seen.items() if seen.round == self._round}
        self._round += 1
