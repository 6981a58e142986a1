"""An event for people: what was before and after side by side, whatever the kind calls it; then the rest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from db.said import signed
from db.tables import Event
from web.wording import NOTHING

_UNTOLD: Final = {"credential"}  # a hash of a hash: that it changed is told, what it is says nothing
_LONGEST: Final = 120  # characters of a value that stands in a line


@dataclass(frozen=True)
class Change:
    """`before` is None where it wasn't told."""

    name: str
    before: str | None
    after: str


@dataclass(frozen=True)
class Told:
    """`facts` are short, `documents` are JSON as text."""

    event: Event
    why: str | None
    changes: list[Change] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    documents: list[tuple[str, str]] = field(default_factory=list)
    signature: str | None = None

    @property
    def inspection(self) -> UUID | None:
        """The inspection that it was done to, where its kind is one of those."""
        if not self.event.kind.startswith(("review.", "replay.")):
            return None
        try:
            return UUID(self.event.subject or "")
        except ValueError:
            return None


def tell(event: Event) -> Told:
    """Say what an event's detail holds."""
    left = dict(event.detail)
    why = left.pop("why", None)
    signature = left.pop("signature", None)
    told = Told(
        event,
        why if isinstance(why, str) else None,
        list(_changes(left)),
        signature=_signed(signature),
    )
    if why is not None and told.why is None:
        left["why"] = why
    for name, value in left.items():
        if value is None:
            continue
        text = plain(value)
        if text is None:
            document = json.dumps(value, indent=2, ensure_ascii=False)
            told.documents.append((_words(name), document))
        else:
            told.facts.append((_words(name), text))
    return told


def plain(value: Any) -> str | None:
    """Give a value as it stands in a line; None for what takes more."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | str):
        text = str(value)
        return text if len(text) <= _LONGEST and "\n" not in text else None
    if isinstance(value, list):
        parts = [plain(one) for one in value]
        if all(part is not None for part in parts):
            text = ", ".join(part for part in parts if part is not None) or "none"
            return text if len(text) <= _LONGEST else None
    return None


def _changes(left: dict[str, Any]) -> list[Change]:
    """Take out of a detail what tells of before and after; as the kinds of events have it."""
    before = left.get("before")
    if isinstance(before, Mapping):
        after = left.pop("after", None) or left.pop("state", None)
        if not isinstance(after, Mapping):  # a rule of retention, or what else stands in the detail itself
            after = {name: left.pop(name) for name in before if name in left}
        del left["before"]
        return _between(before, after)
    if isinstance(left.get("state"), Mapping):  # an account that was opened
        left.pop("before", None)
        return _between({}, left.pop("state"))
    if "before" in left and "model" in left:
        return [Change("model", _value(left.pop("before")), _value(left.pop("model")))]
    pairs = [name for name in left if f"before_{name}" in left]
    return [
        Change(_words(name), _value(left.pop(f"before_{name}")), _value(left.pop(name))) for name in pairs
    ]


def _between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    found = []
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) == after.get(name) and name in before:
            continue
        if name in _UNTOLD:
            found.append(Change("password", None, "changed" if before else "set"))
        else:
            was = _value(before[name]) if name in before else None
            found.append(Change(_words(name), was, _value(after.get(name))))
    return found


def _value(value: Any) -> str:
    text = plain(value)
    return json.dumps(value, ensure_ascii=False) if text is None else text


def _signed(signature: Any) -> str | None:
    if not isinstance(signature, Mapping):
        return None
    try:
        return signed(signature).removeprefix("; ")
    except KeyError:  # rows can be tampered with, and still have to be shown
        return json.dumps(dict(signature), ensure_ascii=False)


def _words(name: str) -> str:
    return name.replace("_", " ")
