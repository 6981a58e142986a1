"""`pyramidion doctor`: is everything there, and what cures what is not."""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from pyramidion.errors import FAILED, UserError, known_errors, sentence
from pyramidion.output import out, print_json

_LOW_DISK_BYTES = 2 * 1024**3
_LONGEST_SILENCE_S = 60.0  # of the clock, which ticks every 15 s at least

Check = Callable[[], str]


def doctor(
    only: Annotated[
        str | None,
        typer.Option(
            help="Check one thing: settings, database, images, broker, device, models, workers, beat, "
            "ledger, accounts, alarms or disk."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check settings, services, device, models, workers, clock, ledger, accounts, alarms and disk."""
    checks = dict(_checks())
    if only is not None and only not in checks:
        raise UserError(f"no check {only!r}: use one of {', '.join(checks)}")
    report = {}
    for name, check in checks.items():
        if only in {None, name}:
            try:
                report[name] = {"ok": True, "says": check()}
            except _expected() as error:
                report[name] = {"ok": False, "says": sentence(error)}
    well = all(one["ok"] for one in report.values())
    if as_json:
        print_json({"ok": well, "checks": report})
    else:
        for name, one in report.items():
            mark = "[green]ok  [/green]" if one["ok"] else "[red]FAIL[/red]"
            out.print(f"{mark} {name:9}", end=" ")
            out.print(str(one["says"]), markup=False, highlight=False)
    if not well:
        raise typer.Exit(FAILED)


def _expected() -> tuple[type[Exception], ...]:
    return (*known_errors(), RedisError, OSError)


def _checks() -> Iterator[tuple[str, Check]]:
    yield "settings", _settings
    yield "database", _database
    yield "images", _images
    yield "broker", _broker
    yield "device", _device
    yield "models", _models
    yield "workers", _workers
    yield "beat", _beat
    yield "ledger", _ledger
    yield "accounts", _accounts
    yield "alarms", _alarms
    yield "disk", _disk


def _settings() -> str:
    from pyramidion.all_settings import settings, unknown_names

    count = len(list(settings()))  # reading them refuses what is wrong
    unknown = unknown_names()
    if unknown:
        raise UserError(
            f"nothing reads {', '.join(unknown)}: correct the name (docs/settings.md) or remove it"
        )
    return f"{count} settings can be read, and all names are known"


def _database() -> str:
    from db import migrate, partitions
    from db.settings import redacted
    from pyramidion.context import open_context

    context = open_context()
    with context.engine.connect() as connection:
        months = partitions.months(connection)
    following = partitions.after(partitions.month_of(datetime.now(UTC)))
    if months and following not in months:
        raise UserError(
            f"no partition is there for {following:%Y-%m}, so its rows can't be dropped as a whole one day: "
            "are a worker of the queue train and a beat running? `pyramidion migrate` makes the months ahead"
        )
    return f"{redacted(context.settings.url())} at revision {migrate.head()}"


def _images() -> str:
    from db.imagestore import open_image_store
    from db.settings import DatabaseSettings
    from pyramidion.context import open_context

    store = open_image_store(DatabaseSettings())
    store.check()
    if store.is_empty():
        open_context().require_images()
    return store.describe()


def _broker() -> str:
    from db.settings import redacted
    from workers import queue
    from workers.settings import WorkerSettings

    settings = WorkerSettings()
    url = redacted(settings.broker())
    try:
        with queue.connect(settings) as client:
            waiting = queue.depth(client)
            others = queue.of_other_versions(client)
            append_only = client.info("persistence").get("aof_enabled")
    except (RedisError, queue.BrokerUnavailableError) as error:
        raise UserError(
            f"{url} does not answer ({error}): start `pyramidion up`, or correct PYRAMIDION_BROKER_URL"
        ) from None
    note = (
        ""
        if append_only
        else "; its append-only file is off: after a restart the sweeper must queue everything again"
    )
    newer = "".join(
        f"; {messages} messages of version {version} wait for a newer worker: update the workers"
        for version, messages in others.items()
    )
    return f"{url}, {waiting} messages waiting{newer}{note}"


def _device() -> str:
    import torch

    from workers.runtime import choose_device
    from workers.settings import WorkerSettings

    device = choose_device(WorkerSettings().device)
    name = (
        torch.cuda.get_device_name(device)
        if device.startswith("cuda")
        else f"{torch.get_num_threads()} threads"
    )
    return f"{device} ({name}), torch {torch.__version__}"


def _models() -> str:
    from db import models
    from pyramidion.context import open_context

    with open_context().reading() as session:
        products = models.products(session)
        champions = models.champions(session, products)
    missing = sorted(product for product in products if champions.get(product) is None)
    if missing:
        raise UserError(
            f"no model judges {', '.join(missing)}: run `pyramidion train {missing[0]} --images DIR`"
        )
    return f"{len(products)} products, each with a champion"


def _workers() -> str:
    from workers.celery import app

    try:
        answers = app.control.ping(timeout=2.0)
    except OperationalError as error:
        raise UserError(f"no worker can be asked, the broker does not answer ({error})") from None
    names = sorted(name for answer in answers for name in answer)
    for queue in ("score", "housekeeping"):
        if not any(name.startswith(f"{queue}-") for name in names):
            raise UserError(
                f"no {queue} worker answers: start `pyramidion up`, or `pyramidion worker --queue {queue}`"
            )
    return ", ".join(names)


def _beat() -> str:
    from db.settings import DatabaseSettings
    from workers.clock import alive_file

    file = alive_file(DatabaseSettings().home)
    try:
        silent_s = max(0.0, time.time() - file.stat().st_mtime)
    except FileNotFoundError:
        return "the clock has never run on this machine; one anywhere in the plant is enough"
    if silent_s > _LONGEST_SILENCE_S:
        raise UserError(
            f"the clock last ticked {silent_s:.0f} s ago: start `pyramidion up`, or `pyramidion beat`; "
            f"where another machine runs it now, remove {file}"
        )
    return f"the clock last ticked {silent_s:.0f} s ago"


def _ledger() -> str:
    from db.ledger.status import look
    from pyramidion.context import open_context

    with open_context().reading() as session:
        found = look(session)
    if found.late:
        raise UserError(
            f"{found.waiting.facts} facts wait to be sealed, for {found.waiting.lag_s:.0f} s: is a "
            "housekeeping worker running, and what does its log say? `pyramidion audit seal` seals now"
        )
    failing = [f"{one.place} ({one.last_error})" for one in found.anchors if one.failing_since is not None]
    if failing:
        raise UserError(
            f"block heads can't be told to {', '.join(failing)}: see the settings PYRAMIDION_ANCHOR_*"
        )
    return f"{found.blocks} blocks, {found.waiting.facts} facts wait, for {found.waiting.lag_s:.0f} s"


def _accounts() -> str:
    from db import users
    from db.events import Asked, told
    from pyramidion.context import open_context
    from web.settings import WebSettings, is_loopback

    since = datetime.now(UTC) - timedelta(days=1)
    with open_context().reading() as session:
        locked = sorted({str(one.subject) for one in told(session, Asked("user.locked", since=since))})
        refused = sum(1 for _ in told(session, Asked(users.REFUSED, since=since)))
        accounts = len(users.everyone(session))
        can_log_in = users.somebody_can_log_in(session)
        admins = users.admins(session)
    if locked:
        raise UserError(
            f"wrong passwords locked {', '.join(locked)} within a day: ask them whether that was they; "
            "`pyramidion audit events --kind user` says when"
        )
    host = WebSettings().web_host
    if not can_log_in and not is_loopback(host):
        raise UserError(
            f"the page listens on {host}, and nobody can log in to it: `pyramidion users add NAME --role "
            "admin` opens the first account"
        )
    if not can_log_in:
        page = "nobody can log in to the page, which only this machine sees: users add NAME --role admin"
    elif not admins:
        page = "no admin can log in to the page: users roles NAME --role admin makes somebody one"
    else:
        page = f"{len(admins)} can administrate on the page"
    return f"{accounts} accounts, {refused} signatures refused within a day; {page}"


def _alarms() -> str:
    from db.alarms import newest
    from pyramidion.context import open_context

    with open_context().reading() as session:
        found = newest(session, only_open=True)
    holding = [one for one in found if one.holds]
    if holding:
        where = ", ".join(f"{one.product} at {one.station} ({str(one.id)[:13]})" for one in holding)
        raise UserError(
            f"verdicts are inconclusive, since an alarm is open, of {where}: `pyramidion alarms` says why, "
            "`pyramidion alarms close ID --why TEXT` ends it"
        )
    return f"{len(found)} open" + ("; `pyramidion alarms` lists them" if found else "")


def _disk() -> str:
    from db.settings import DatabaseSettings

    home = DatabaseSettings().home
    folder = home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < _LOW_DISK_BYTES:
        raise UserError(f"{home} has {free / 1e9:.1f} GB free: make room, or move PYRAMIDION_HOME")
    return f"{home} has {free / 1e9:.0f} GB free"
