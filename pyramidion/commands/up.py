"""`pyramidion up`: everything on one machine until Ctrl-C."""

import signal
import threading
import time
from types import FrameType
from typing import Annotated

import typer
from rich.table import Table

from db.settings import DatabaseSettings
from pyramidion import services
from pyramidion.errors import StoppedError
from pyramidion.output import err, out
from pyramidion.supervisor import Service, Supervisor


def up(
    web: Annotated[bool, typer.Option(help="Serve the page as well.")] = True,
    trainer: Annotated[bool, typer.Option(help="Run a training worker as well.")] = True,
) -> None:
    """Start broker, workers, clock and page on this machine; Ctrl-C stops them all."""
    stop = stop_on_signals()
    supervisor = Supervisor(DatabaseSettings().home)
    try:
        services.start(supervisor, _say, stop, web=web, trainer=trainer)
        table = Table("process", "pid", "log", box=None)
        for service in supervisor.services:
            table.add_row(
                service.name, str(service.process.pid if service.process else "-"), str(service.log)
            )
        out.print(table)
        out.print("running; Ctrl-C stops everything. Next: `pyramidion train PRODUCT --images DIR`")
        tend_until(stop, supervisor)
    except StoppedError:
        pass  # asked to stop while it started: it ends as when it runs
    finally:
        out.print("stopping; Ctrl-C again kills what takes long")
        for killed in supervisor.stop():
            err.print(cut_short(killed), style="yellow", markup=False, highlight=False, soft_wrap=True)
        out.print("stopped; everything accepted is kept")


def _say(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def cut_short(service: Service) -> str:
    kept = ": a training in hand goes on from its last whole epoch" * (service.name == "trainer")
    return f"{service.name} did not stop in time and was killed{kept}"


def tend_until(stop: threading.Event, supervisor: Supervisor) -> None:
    """Start again what dies, saying so, until `stop` is set."""
    while not stop.wait(0.5):
        for died in supervisor.tend():
            err.print(
                f"{time.strftime('%H:%M:%S')} {died.name} ended unexpectedly, restarting it; see {died.log}",
                style="yellow",
                markup=False,
                highlight=False,
            )


def stop_on_signals() -> threading.Event:
    """Turn Ctrl-C and SIGTERM into an event, so that whoever waits can leave in order.

    The second one is a KeyboardInterrupt: whoever does not leave in order is made to.
    """
    stop = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.default_int_handler)

    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGTERM, ask)
    return stop
