"""What verifying finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bad:
    """Something that is not as it was sealed; `kind` and `id` name the fact, where one is known."""

    why: str
    kind: str | None = None
    id: str | None = None
    block: int | None = None
