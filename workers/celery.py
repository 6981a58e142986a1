"""The Celery application; `celery -A workers` finds it here.

Nothing is read at import: the settings are taken when Celery first asks for its configuration.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from celery import Celery
from celery.schedules import crontab
from kombu.entity import Queue

from workers.drift_settings import DriftSettings
from workers.messages import VERSION, known_queues, queue_of
from workers.settings import WorkerSettings

SOCKET_TIMEOUT_S = 10
TRAIN, HOUSEKEEPING = "train", "housekeeping"


class Configuration(Mapping[str, Any]):
    """Celery's configuration, made from the settings when it is first looked into.

    Celery's own signal for this swallows exceptions: a wrong setting would leave the process on Celery's
    defaults, another broker and a pickled schedule. From here they reach whoever started the process.
    """

    @cached_property
    def _values(self) -> dict[str, Any]:
        return configuration(WorkerSettings())

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def configuration(settings: WorkerSettings) -> dict[str, Any]:
    drift_every_s = DriftSettings().drift_every_s
    return {
        "broker_url": settings.broker(),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a worker outlives its broker
        "worker_consumer": "workers.reconnect:Consumer",
        "broker_transport_options": {
            "visibility_timeout": settings.visibility_timeout_s,
            # kombu looks for lost messages every interval x throttle seconds; its default is 100.
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": 3,
            # Longer than the second that a worker's BRPOP blocks; a broker that accepts and then says nothing
            # must not hold a station for ever.
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_keepalive": True,
        },
        "task_queues": [Queue(name) for name in (*known_queues(), TRAIN, HOUSEKEEPING)],
        "task_default_queue": HOUSEKEEPING,
        "task_routes": {
            "workers.score": {"queue": queue_of(VERSION)},
            "workers.trainer": {"queue": TRAIN},
            "workers.replay": {"queue": TRAIN},  # who trains has a model's libraries, and time
            "workers.replays": {"queue": TRAIN},
            "workers.verify": {"queue": TRAIN},
            "workers.retain": {"queue": TRAIN},
        },
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_backend": None,
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A prefetch below the batch size would make batches small where messages hold one image (checked at
        # start). Twice the batch size lets one batch gather while another is scored.
        "worker_prefetch_multiplier": 2 * settings.batch_images,
        "worker_send_task_events": True,  # for Flower
        "worker_hijack_root_logger": True,
        "worker_log_format": "%(asctime)s %(levelname)s %(message)s",
        "worker_task_log_format": "%(asctime)s %(levelname)s %(task_name)s: %(message)s",
        "timezone": "UTC",
        "beat_scheduler": "workers.clock:Clock",
        "beat_schedule": {
            "sweep": {
                "task": "workers.sweep",
                "schedule": settings.sweep_every_s,
                # A sweep that nobody ran is worthless, the next one sees the same. Its age is judged by the
                # worker's clock, which may differ from this one's.
                "options": {"queue": HOUSEKEEPING, "expires": max(300, 2 * settings.sweep_every_s)},
            },
            "seal": {
                "task": "workers.seal",
                "schedule": settings.seal_every_s,
                "options": {"queue": HOUSEKEEPING, "expires": max(300, 2 * settings.seal_every_s)},
            },
            # However long the pause, what was due is caught up: a look that nobody took is worthless.
            "schedule": {
                "task": "workers.schedule",
                "schedule": crontab(),
                "options": {"queue": HOUSEKEEPING, "expires": 300},
            },
            "golden": {
                "task": "workers.golden",
                "schedule": crontab(),
                "options": {"queue": HOUSEKEEPING, "expires": 300},
            },
            "drift": {
                "task": "workers.drift",
                "schedule": drift_every_s,
                "options": {"queue": HOUSEKEEPING, "expires": max(300, 2 * drift_every_s)},
            },
            "tidy": {
                "task": "workers.tidy",
                "schedule": crontab(minute="17"),
                "options": {"queue": HOUSEKEEPING, "expires": 3600},
            },
            # Asked for each hour, done once a day: the clock remembers nothing, and may not run at midnight.
            "replay": {
                "task": "workers.replay",
                "schedule": crontab(minute="7"),
                "options": {"queue": TRAIN, "expires": 3600},
            },
            # Whoever asks sends a message as well: these are for what the broker lost.
            "replays": {
                "task": "workers.replays",
                "schedule": crontab(minute="*/5"),
                "options": {"queue": TRAIN, "expires": 300},
            },
            "verify": {
                "task": "workers.verify",
                "schedule": crontab(minute="*/5"),
                "options": {"queue": TRAIN, "expires": 300},
            },
            "retain": {  # ... its months each hour, the policy once a day
                "task": "workers.retain",
                "schedule": crontab(minute="37"),
                "options": {"queue": TRAIN, "expires": 3600},
            },
        },
    }


TASKS = (
    "score",
    "sweep",
    "seal",
    "schedule",
    "golden",
    "drift",
    "tidy",
    "trainer",
    "replay",
    "replays",
    "verify",
    "retain",
)
app = Celery("workers", include=[f"workers.{name}" for name in TASKS])
app.config_from_object(Configuration())
