"""What may go wrong: each kind is a context that causes it, and ends the cause when it is left.

Processes that are killed come back by the supervisor; all else comes back by whoever leaves the context.
"""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from redis import Redis

from tests.faults.ground import wait_for
from tests.faults.line import Line
from tests.faults.plant import STATIONS, WORKERS, Plant

Cause = Callable[[Plant, Line, Random], AbstractContextManager[str]]
_QUEUE: Final = "score"
# A poison that kills or hangs is tried up to four times, each after the sweeper found it again.
_ISOLATED_S: Final = 240.0


@dataclass(frozen=True)
class Kind:
    """A fault lasts from `shortest` to `longest` seconds; two of one round have no target in common."""

    cause: Cause
    targets: frozenset[str]
    shortest: float
    longest: float
    weight: int
    needs_disks: bool


def killed(names: tuple[str, ...]) -> Cause:
    @contextmanager
    def cause(plant: Plant, _line: Line, random: Random) -> Iterator[str]:
        name = random.choice(names)
        plant.process(name).kill()
        yield name

    return cause


@contextmanager
def all_workers_killed(plant: Plant, _line: Line, _random: Random) -> Iterator[str]:
    for name in WORKERS:
        plant.process(name).kill()
    yield "both"


@contextmanager
def worker_stopped(plant: Plant, _line: Line, random: Random) -> Iterator[str]:
    name = random.choice(WORKERS)
    process = plant.process(name)
    process.send_signal(signal.SIGSTOP)
    yield name
    process.send_signal(signal.SIGCONT)


@contextmanager
def broker_killed(plant: Plant, _line: Line, _random: Random) -> Iterator[str]:
    plant.broker.kill()
    yield "comes back with its file"
    plant.broker.start()


@contextmanager
def broker_emptied(plant: Plant, _line: Line, _random: Random) -> Iterator[str]:
    plant.broker.kill()
    plant.broker.empty()
    yield "comes back empty"
    plant.broker.start()


@contextmanager
def broker_flushed(plant: Plant, _line: Line, _random: Random) -> Iterator[str]:
    with plant.broker.client() as client:
        client.flushall()
    yield "FLUSHALL"


def postgres(number: signal.Signals) -> Cause:
    @contextmanager
    def cause(plant: Plant, _line: Line, _random: Random) -> Iterator[str]:
        plant.postgres.signal(number)
        yield number.name
        plant.postgres.start()

    return cause


@contextmanager
def connections_cut(plant: Plant, _line: Line, _random: Random) -> Iterator[str]:
    """Every 20 to 100 ms, so that some are cut in their commits."""
    statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pyramidion'"
    ended = threading.Event()

    def cut() -> None:
        random = Random(0)
        while not ended.wait(random.uniform(0.02, 0.1)):
            plant.postgres.query(statement)

    thread = threading.Thread(target=cut, daemon=True)
    thread.start()
    yield "again and again"
    ended.set()
    thread.join(70)


@contextmanager
def store_gone(plant: Plant, _line: Line, _random: Random) -> Iterator[str]:
    away = plant.store.with_name("store-away")
    plant.store.rename(away)
    yield "its folder was renamed"
    away.rename(plant.store)


@contextmanager
def store_slow(plant: Plant, _line: Line, _random: Random) -> Iterator[str]:
    plant.slow.touch()
    yield "1.5 s for each call"
    plant.slow.unlink()


def unwritable(folder: Callable[[Plant, Random], Path]) -> Cause:
    """A file lies where files are written first, so that no one can; permissions don't stop root."""

    @contextmanager
    def cause(plant: Plant, _line: Line, random: Random) -> Iterator[str]:
        where = folder(plant, random)
        waiting = where / "tmp"
        aside = where / "tmp-aside"
        waiting.rename(aside)
        waiting.touch()
        yield where.name
        waiting.unlink()
        aside.rename(waiting)

    return cause


def full(disk: str) -> Cause:
    @contextmanager
    def cause(plant: Plant, _line: Line, _random: Random) -> Iterator[str]:
        ballast = getattr(plant, disk).fill()
        yield f"{ballast.stat().st_size // 2**20} MB of ballast"
        ballast.unlink()

    return cause


def messages(change: Callable[[Redis, Random], str]) -> Cause:
    """The workers are held for a moment, so that there are messages to change."""

    @contextmanager
    def cause(plant: Plant, _line: Line, random: Random) -> Iterator[str]:
        plant.signal(WORKERS, signal.SIGSTOP)
        try:
            with plant.broker.client() as client:
                with suppress(TimeoutError):
                    wait_for(lambda: client.llen(_QUEUE) >= 4, "messages", 4)
                detail = change(client, random)
        finally:
            plant.signal(WORKERS, signal.SIGCONT)
        yield detail

    return cause


def doubled(client: Redis, random: Random) -> str:
    """Also those that are being worked on, as after a redelivery."""
    waiting, held = client.lrange(_QUEUE, 0, -1), client.hvals("unacked")
    for message in [*waiting, *(json.dumps(json.loads(one)[0]) for one in held)]:
        for _ in range(random.randint(1, 3)):
            client.lpush(_QUEUE, message)
    return f"{len(waiting)} waiting and {len(held)} held ones, up to four times"


def shuffled(client: Redis, random: Random) -> str:
    with client.pipeline() as pipe:  # MULTI: no worker sees the queue in between
        waiting = client.lrange(_QUEUE, 0, -1)
        random.shuffle(waiting)
        pipe.delete(_QUEUE)
        if waiting:
            pipe.rpush(_QUEUE, *waiting)
        pipe.execute()
    return f"{len(waiting)} waiting"


def lost(client: Redis, random: Random) -> str:
    number = random.randint(1, 5)
    return f"{len(client.rpop(_QUEUE, number) or [])} taken away"


def poison(kind: str) -> Cause:
    """Its cause ends when the poison has its verdict; what it held up must then be judged soon."""

    @contextmanager
    def cause(plant: Plant, line: Line, _random: Random) -> Iterator[str]:
        serial = line.poison(kind)
        yield serial
        statement = (
            "SELECT 1 FROM results JOIN inspections ON inspections.id = inspection_id WHERE serial = %s"
        )
        wait_for(
            lambda: plant.postgres.query(statement, serial), f"a verdict on poison {serial}", _ISOLATED_S
        )

    return cause


def _kind(cause: Cause, targets: str, *lasts: float, weight: int = 4, needs_disks: bool = False) -> Kind:
    shortest, longest = lasts or (0.0, 0.0)
    return Kind(cause, frozenset(targets.split()), shortest, longest, weight, needs_disks)


KINDS: Final = {
    "worker killed": _kind(killed(WORKERS), "worker", weight=10),
    "all workers killed": _kind(all_workers_killed, "worker"),
    "station killed": _kind(killed(STATIONS), "station", weight=10),
    "sweeper killed": _kind(killed(("housekeeping",)), "sweeper", weight=8),
    "clock killed": _kind(killed(("beat",)), "clock"),
    "worker stopped": _kind(worker_stopped, "worker", 33.0, 36.0, weight=1),
    "broker killed": _kind(broker_killed, "broker", 0.5, 6.0, weight=6),
    "broker away": _kind(broker_killed, "broker", 30.0, 40.0, weight=1),
    "broker emptied": _kind(broker_emptied, "broker", 0.5, 4.0),
    "broker flushed": _kind(broker_flushed, "broker", weight=6),
    "database killed": _kind(postgres(signal.SIGKILL), "database", 0.5, 5.0, weight=6),
    "database stopped": _kind(postgres(signal.SIGQUIT), "database", 0.5, 5.0),
    "database away": _kind(postgres(signal.SIGQUIT), "database", 30.0, 40.0, weight=1),
    "connections cut": _kind(connections_cut, "database", 1.0, 4.0, weight=6),
    "store gone": _kind(store_gone, "store", 1.0, 5.0),
    "store slow": _kind(store_slow, "store", 3.0, 8.0),
    "store unwritable": _kind(unwritable(lambda plant, _: plant.store), "store", 1.0, 5.0),
    "store full": _kind(full("stores"), "store", 1.0, 5.0, needs_disks=True),
    "spool unwritable": _kind(
        unwritable(lambda plant, random: plant.spools.folder / random.choice(STATIONS)), "spool", 1.0, 5.0
    ),
    "spool full": _kind(full("spools"), "spool", 1.0, 5.0, needs_disks=True),
    "messages doubled": _kind(messages(doubled), "broker worker", weight=6),
    "messages shuffled": _kind(messages(shuffled), "broker worker"),
    "messages lost": _kind(messages(lost), "broker worker", weight=6),
    "poison undecodable": _kind(poison("undecodable"), "poison", weight=2),
    "poison kills": _kind(poison("kills"), "worker", weight=1),
    "poison hangs": _kind(poison("hangs"), "worker", weight=1),
}
