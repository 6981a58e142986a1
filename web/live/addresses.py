"""Where the lines' walls are: a line's name may be anything that can be kept."""

from typing import Final
from urllib.parse import quote, urlencode

from web.live.counts import WINDOWS

USUAL: Final = 60  # minutes


def wall(line: str, window: int = USUAL) -> str:
    """Give the address of a line's wall; in the query where a path could be taken for another one."""
    query = {} if window == USUAL else {"window": str(window)}
    if line in {".", ".."} or f"/{line}".endswith("/events"):
        return _with("/live", {"line": line, **query})
    return _with(f"/live/{quote(line, safe='')}", query)


def plant(window: int = USUAL) -> str:
    return _with("/live", {} if window == USUAL else {"window": str(window)})


def events(line: str | None, window: int) -> str:
    """Give the address of the events that keep a page up to date."""
    query = {} if line is None else {"line": line}
    return _with("/live/events", {**query, "window": str(window)})


def windows(line: str | None) -> list[tuple[int, str, str]]:
    """Give each window in minutes, in words, and the address of the same page with it."""
    words = {minutes: f"{minutes // 60} h" if minutes >= 60 else f"{minutes} min" for minutes in WINDOWS}
    return [
        (minutes, words[minutes], plant(minutes) if line is None else wall(line, minutes))
        for minutes in WINDOWS
    ]


def _with(path: str, query: dict[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path
