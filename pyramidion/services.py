"""What `up` and `demo` start on one machine, in which order, and how it is known to be there."""

import socket
import sys
import time
from collections.abc import Callable
from threading import Event

from redis.exceptions import RedisError

from db.settings import DatabaseSettings, redacted
from pyramidion import broker
from pyramidion.context import Context, open_context
from pyramidion.errors import StoppedError, UserError
from pyramidion.supervisor import Supervisor
from web.settings import WebSettings
from workers import queue
from workers.settings import WorkerSettings

_WORKER_READY_S = 90.0


def command(*words: str) -> list[str]:
    """The command line of one of our own processes, whatever the PATH says."""
    return [sys.executable, "-m", "pyramidion", *words]


def start(
    supervisor: Supervisor, say: Callable[[str], None], stop: Event, *, web: bool, trainer: bool
) -> Context:
    """Start broker, schema, workers, clock and page; gives the opened database and store.

    Raises UserError when the broker does not come up, StoppedError once `stop` is set, and what opening the
    database raises.
    """
    settings = WorkerSettings()
    home = DatabaseSettings().home
    if settings.broker_url is None:
        embedded = broker.prepare(home)
        supervisor.start("broker", embedded.command, outlives=True)
        say(f"broker   Valkey, embedded, {redacted(embedded.url)}")
    else:
        say(f"broker   {redacted(settings.broker())}")
    _await_broker(settings, supervisor, stop)
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
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # shown, not bound
        say(f"page     http://{f'[{here}]' if ':' in here else here}:{port}")
    return context


def _page_address(settings: WebSettings, say: Callable[[str], None]) -> tuple[str, int]:
    """The address of the settings, or a free port where that one is taken (0 asks for a free one)."""
    host = settings.web_host.removeprefix("[").removesuffix("]")
    for port in (settings.web_port, 0):
        try:
            return host, _bindable(host, port)
        except socket.gaierror:
            break
        except OSError as error:
            say(f"page     port {port} cannot be had ({error.strerror}), taking a free one")
    raise UserError(
        f"cannot listen on PYRAMIDION_WEB_HOST={settings.web_host}: use an address of this machine"
    )


def _bindable(host: str, port: int) -> int:
    """Bind as the page's server will, for a moment; gives the port, which is a free one for 0."""
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            # Else the port is taken for a minute after a page that was just stopped.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address[0], port, *address[2:]))
            port = int(probe.getsockname()[1])
    return port


def _await_broker(
    settings: WorkerSettings, supervisor: Supervisor, stop: Event, patience_s: float = 20.0
) -> None:
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
            _wait(stop)
        else:
            return


def await_worker(supervisor: Supervisor, stop: Event, patience_s: float = _WORKER_READY_S) -> None:
    """Wait until the scoring worker says that it is ready.

    Raises UserError with its last words, and StoppedError once `stop` is set.
    """
    service = next(one for one in supervisor.services if one.name == "worker")
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if " ready." in service.said():
            return
        if service.process is not None and service.process.poll() is not None:
            break
        _wait(stop)
    last = "\n".join(service.said().splitlines()[-5:])
    raise UserError(f"the {service.name} did not get ready; its log {service.log} ends with:\n{last}")


def _wait(stop: Event) -> None:
    if stop.wait(0.1):
        raise StoppedError
