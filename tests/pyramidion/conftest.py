import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(home: Path) -> Callable[..., Answer]:
    """Run a command as a user would: `run("results", "--json")`."""

    def run_it(*words: str, timeout: float = 100, env: dict[str, str] | None = None) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "pyramidion", *words],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "COLUMNS": "200", **(env or {})},
        )
        assert "Traceback" not in done.stderr + done.stdout, done.stderr + done.stdout
        return Answer(done.returncode, done.stdout, done.stderr)

    return run_it


@pytest.fixture
def no_room_beyond() -> Callable[[int], AbstractContextManager[None]]:
    """Let no file of this process grow beyond a size, as a full disk would: `with no_room_beyond(10):`."""

    @contextmanager
    def full(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return full
