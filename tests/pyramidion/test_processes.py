"""The processes that `up`, Compose and a plant start."""

from pathlib import Path

import pytest

from pyramidion.commands.processes import _MODULES
from workers.celery import HOUSEKEEPING, TASKS, configuration
from workers.settings import WorkerSettings


def test_each_task_is_known_to_the_workers_of_its_queue(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker throws away what it doesn't know."""
    monkeypatch.setenv("PYRAMIDION_BROKER_URL", "redis://127.0.0.1:1/0")
    routes = configuration(WorkerSettings())["task_routes"]
    for task in (f"workers.{name}" for name in TASKS):
        assert task in _MODULES[routes.get(task, {}).get("queue", HOUSEKEEPING)]
