"""How commands speak: tables for people on standard output, JSON for scripts, progress on standard error."""

import json
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from rich.console import Console


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would exit with 1; pyramidion.cli knows better


out = _Console()
err = Console(stderr=True)


def print_json(value: object) -> None:
    """Print one JSON document and nothing else on standard output."""
    sys.stdout.write(json.dumps(value, default=_plain, indent=2) + "\n")


def print_json_array(values: Iterable[object]) -> None:
    """Print a JSON array, an element to a line, without holding it in memory."""
    separator = "[\n"
    for value in values:
        sys.stdout.write(separator + json.dumps(value, default=_plain))
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form here")
