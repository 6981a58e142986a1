"""A turn: one go at what is due, which may have to end early, and may have to leave something."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

# Whoever lets go holds it, and a backup of images, which must not vanish while they are copied.
LEASE: Final = "retain"
LEASE_S: Final = 900.0  # renewed between acts, of which the longest is that of a month


@dataclass
class Turn:
    """`go_on` is asked before each act and each few hundred files; `left` says what is due and did not go."""

    go_on: Callable[[], bool] = lambda: True
    left: list[str] = field(default_factory=list)
    _over: bool = False

    def is_over(self) -> bool:
        if not self._over and not self.go_on():
            self._over = True
            self.left.append("what was still to come when the turn was over")
        return self._over
