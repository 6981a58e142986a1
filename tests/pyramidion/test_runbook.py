"""What the documents tell a person to type exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pyramidion.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "deploy/README.md",
    "docs/runbook.md",
    "docs/tour.md",
    "docs/compliance.md",
    "docs/retraining.md",
)
COMMAND = re.compile(r"(?:\bpyramidion|compose run [^`\n]*?\bcli) ([a-z][^`\n|;&]*)")


def commands(page: str) -> Iterator[list[str]]:
    text = (ROOT / page).read_text(encoding="utf-8")
    code = re.findall(r"```sh\n(.*?)```|`([^`\n]+)`", text, re.DOTALL)
    for block, span in code:
        for found in COMMAND.findall(re.sub(r"^ *#.*$| +#.*$", "", block or span, flags=re.MULTILINE)):
            yield shlex.split(found)


def wrong(words: list[str]) -> str | None:
    """Say which word of a command line there is not; None where all are there."""
    found: Any = typer.main.get_command(app)
    left = list(words)
    while left and hasattr(found, "get_command") and not left[0].startswith("-"):
        name = left.pop(0)
        found = found.get_command(None, name)
        if found is None:
            return name
    known = {one for option in found.params for one in (*option.opts, *option.secondary_opts)} | {"--help"}
    return next((word for word in left if re.match("--?[a-z]", word) and word not in known), None)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_exists(page: str) -> None:
    told = list(commands(page))
    assert told != []
    assert [(words, found) for words in told if (found := wrong(words)) is not None] == []


def test_the_check_fails_where_one_does_not() -> None:
    assert wrong(["audit", "verify", "--blobs", "all"]) is None
    assert wrong(["audit", "verifi"]) == "verifi"
    assert wrong(["backup", "DIR", "--kep", "3"]) == "--kep"
