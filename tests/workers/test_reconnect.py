"""A broker that was away for long is found again within seconds of its return."""

from typing import Any

import pytest
from celery.worker import WorkController
from kombu import Connection
from kombu.utils import functional

from workers.celery import app
from workers.reconnect import Consumer, patient


def test_pauses_grow_to_four_seconds_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[float] = []

    def note(_error: Exception, pause: float) -> None:
        announced.append(pause)
        if len(announced) == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(functional, "sleep", lambda _seconds: None)
    with pytest.raises(KeyboardInterrupt), Connection("redis://127.0.0.1:1/0") as connection:
        patient(connection).ensure_connection(note)
    assert announced == sorted(announced)
    assert 0.5 <= announced[0] <= 1.5
    assert 3.0 <= announced[-1] <= 4.0


def test_workers_use_it(use_broker: Any) -> None:
    assert WorkController(app=app, pool_cls="solo").consumer_cls == "workers.reconnect:Consumer"
    assert app.subclass_with_self("workers.reconnect:Consumer").mro()[1] is Consumer
