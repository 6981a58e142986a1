"""Text that both databases can keep: PostgreSQL refuses NUL, and neither takes half a surrogate pair.

Both occur: in names of files that aren't UTF-8, and in messages of decoders that quote what they read.
"""

import re
from typing import Any

LONGEST_NAME = 255  # characters, of names, serials and lots
UNKEEPABLE = re.compile("[\0\ud800-\udfff]")


class UnkeepableNameError(ValueError):
    """A name that can't be kept as it is; the message names it and the reason."""


def readable(text: str) -> str:
    """Give the text with what can't be kept replaced, for reasons and messages."""
    return UNKEEPABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def readable_json(value: Any) -> Any:
    """Do the same with every text in a JSON value."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, dict):
        return {readable(key): readable_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [readable_json(inner) for inner in value]
    return value


def require_name(what: str, text: str | None) -> None:
    """Raise UnkeepableNameError unless the text can be kept as it is; names are never altered to fit."""
    if text is None:
        return
    if not text or len(text) > LONGEST_NAME:
        raise UnkeepableNameError(
            f"{what} {text[:40]!r} has {len(text)} characters; 1 to {LONGEST_NAME} can be kept"
        )
    if UNKEEPABLE.search(text):
        raise UnkeepableNameError(f"{what} {text!r} holds characters that no database can keep; rename it")
