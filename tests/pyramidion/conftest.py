import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
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
def run(home: Path, starter: Any) -> Callable[..., Answer]:
    """Run a command as a user would: `run("results", "--json")`."""

    def run_it(*words: str, timeout: float = 100, env: dict[str, str] | None = None) -> Answer:
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            asked = {**os.environ, **(env or {})}
            process = starter.start(words, asked, out.fileno(), err.fileno())
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
            for file in (out, err):
                file.seek(0)
            answer = Answer(code, out.read(), err.read())
        assert "Traceback" not in answer.err + answer.out, answer.err + answer.out
        return answer

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
