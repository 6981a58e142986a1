"""How soon a process comes back to its broker: Celery's own pauses grow to half a minute, in step."""

import random
from functools import partial
from typing import Any, Final

from celery.worker import consumer

_LONGEST_PAUSE_S: Final = 4.0


def patient(connection: Any) -> Any:
    """Let a connection be tried again, without end, after pauses that grow to 4 s or a little less."""
    connection.ensure_connection = partial(
        connection.ensure_connection,
        interval_start=random.uniform(0.5, 1.5),  # noqa: S311  # jitter, not a secret
        interval_step=1.0,
        interval_max=_LONGEST_PAUSE_S * random.uniform(0.75, 1.0),  # noqa: S311
    )
    return connection


class Consumer(consumer.Consumer):
    """Celery's consumer, which comes back soon."""

    def ensure_connected(self, conn: Any) -> Any:
        return super().ensure_connected(patient(conn))
