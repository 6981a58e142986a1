"""What `up` and `demo` start on one machine, in which order, and how it is known to be there."""

import socket
import sys
import time
from collections.abc import Callable

from redis.exceptions import RedisError

from db.settings import DatabaseSettings, redacted
from pyramidion import broker
from pyramidion.context import Context, open_context
from pyramidion.errors import UserError
from pyramidion.supervisor import Supervisor
from web.settings import WebSettings, refuse_open_bind
from workers import queue
from workers.settings import WorkerSettings

_WORKER_READY_S = 90.0


def command(*words: str) -> list[str]:
    """The command line of one of our own processes, whatever the PATH says."""
    return [sys.executable, "-m", "pyramidion", *words]


def start(supervisor: Supervisor, say: Callable[[str], None], *, web: bool, trainer: bool) -> Context:
    """Start broker, schema, workers, clock and page; gives the opened database and store.

    Raises UserError when the broker does not come up, and what opening the database raises.
    """
    settings = WorkerSettings()
    home = DatabaseSettings().home
    if settings.broker_url is None:
        embedded = broker.prepare(home)
        supervisor.start("broker", embedded.command)
        say(f"broker   Valkey, embedded, {redacted(embedded.url)}")
    else:
        say(f"broker   {redacted(settings.broker())}")
    _await_broker(settings, supervisor)
    context = open_context()
    say(f"database {redacted(context.settings.url())}")
    say(f"images   {context.store.describe()}")
    supervisor.start("worker", command("worker", "--queue", "score"))
    supervisor.start("housekeeping", command("worker", "--queue", "housekeeping"))
    supervisor.start("beat", command("beat"))
    if trainer:
        supervisor.start("trainer", command("worker", "--queue", "train"))
    if web:
        host, port = _page_address(WebSettings(), say)
        supervisor.start("web", command("serve", "--host", host, "--port", str(port)))
        here = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104  # shown, not bound
        say(f"page     http://{here}:{port}")
    return context


def _page_address(settings: WebSettings, say: Callable[[str], None]) -> tuple[str, int]:
    """The address of the settings, or a free port where that one is taken (0 asks for a free one).

    Raises web.settings.OpenBindError for an address that others reach where no password is set.
    """
    refuse_open_bind(settings, settings.web_host)
    for port in (settings.web_port, 0):
        with socket.socket() as probe:
            try:
                probe.bind((settings.web_host, port))
            except OSError as error:
                say(f"page     port {port} cannot be had ({error.strerror}), taking a free one")
                continue
            return settings.web_host, int(probe.getsockname()[1])
    raise UserError(
        f"cannot listen on PYRAMIDION_WEB_HOST={settings.web_host}: use an address of this machine"
    )


def _await_broker(settings: WorkerSettings, supervisor: Supervisor, patience_s: float = 20.0) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with queue.connect(settings) as client:
                client.ping()
        except RedisError as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"the broker {redacted(settings.broker())} does not answer: {error}. "
                    f"Check PYRAMIDION_BROKER_URL, or the log in {supervisor.logs}"
                ) from None
            supervisor.tend()
            time.sleep(0.1)
        else:
            return


def await_worker(supervisor: Supervisor, patience_s: float = _WORKER_READY_S) -> None:
    """Wait until the scoring worker says that it is ready; raises UserError with its last words."""
    service = next(one for one in supervisor.services if one.name == "worker")
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        text = service.log.read_text(encoding="utf-8", errors="replace") if service.log.exists() else ""
        if " ready." in text.rsplit("-------------- ", 1)[-1]:
            return
        if service.process is not None and service.process.poll() is not None:
            break
        time.sleep(0.1)
    last = "\n".join(service.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
    raise UserError(f"the {service.name} did not get ready; its log {service.log} ends with:\n{last}")
