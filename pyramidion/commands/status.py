"""`pyramidion status`: how inspections flow just now."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from pyramidion.output import out, print_json


def status(
    minutes: Annotated[
        float, typer.Option(min=0.1, max=24 * 60, help="How far back rates and counts go.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what stations captured, what workers judged, and what waits: in queue, database and spools."""
    from dataclasses import asdict

    from capture.settings import CaptureSettings
    from db import alarms, flow
    from pyramidion.context import open_context
    from workers import queue

    now = datetime.now(UTC)
    with open_context().reading() as session:
        found = flow.look(session, now, timedelta(minutes=minutes))
        opened = [alarms.as_dict(one) for one in alarms.newest(session, only_open=True)]
    report = {
        **asdict(found),
        "alarms": opened,
        "queue": asdict(queue.look(now)),
        "spools": _spools(CaptureSettings().spool()),
    }
    if as_json:
        print_json(report)
    else:
        _print(found, report, minutes)


def _spools(root: Path) -> list[dict[str, Any]]:
    """The spools on this machine: frames and bytes that wait, and what is free on their disk."""
    from capture.spool import SUFFIX, number_in

    if not root.is_dir():
        return []
    free = shutil.disk_usage(root).free
    spools = []
    for folder in sorted(one for one in root.iterdir() if one.is_dir()):
        frames = size = 0
        for file in folder.glob(f"*{SUFFIX}"):
            try:
                size += file.stat().st_size
            except FileNotFoundError:
                continue  # taken in just now
            frames += number_in(file)
        spools.append({"station": folder.name, "frames": frames, "bytes": size, "free_bytes": free})
    return spools


def _print(found: Any, report: dict[str, Any], minutes: float) -> None:
    _print_stations(found, minutes)
    for worker in found.workers:
        batch = "" if worker.batch_images is None else f", {worker.batch_images:.1f} images a batch"
        _say(f"worker {worker.worker}: {worker.judged} judged, {worker.images_per_s:.1f} images/s{batch}")
    if found.latency_ms:
        said = ", ".join(f"{name} {ms:,.0f} ms" for name, ms in found.latency_ms.items())
        _say(f"from capture to verdict: {said}")
    if found.waiting:
        _say(f"{found.waiting} wait for a verdict, the oldest for {found.oldest_waiting_s:.1f} s")
    else:
        _say("nothing waits for a verdict")
    queue = report["queue"]
    if queue["error"] is not None:
        _say(f"queue: not known, {queue['error']}")
    else:
        old = "" if queue["oldest_s"] is None else f", the oldest {queue['oldest_s']:.1f} s old"
        _say(f"queue: {queue['messages']} messages{old}")
    for version, messages in queue["other_versions"].items():
        _say(f"queue: {messages} messages of version {version} wait for a worker of a newer release")
    for spool in report["spools"]:
        free = f"{spool['free_bytes'] / 1e9:.1f} GB are free"
        _say(f"spool {spool['station']}: {spool['frames']} frames, {spool['bytes']:,} bytes; {free}")
    for alarm in report["alarms"]:
        holds = "; the station's verdicts are inconclusive until it is closed" if alarm["holds"] else ""
        _say(f"alarm {str(alarm['id'])[:13]}: {alarm['said']}{holds}")


def _print_stations(found: Any, minutes: float) -> None:
    if not found.stations:
        _say(f"nothing was captured within {minutes:g} minutes")
        return
    table = Table(title=f"captured within {minutes:g} minutes", title_justify="left")
    for name in ("station", "accepted", "judged", "error", "pending", "late", "images/s", "last"):
        table.add_column(name, justify="left" if name in {"station", "last"} else "right")
    for one in found.stations:
        counts = (one.accepted, one.judged, one.error, one.pending, one.late)
        last = f"{one.last_captured_at:%H:%M:%S} UTC"
        table.add_row(one.station, *map(str, counts), f"{one.images_per_s:.1f}", last)
    out.print(table)
    for one in found.stations:
        if one.clock_ahead_s:
            how = "ahead of" if one.clock_ahead_s > 0 else "behind"
            off = f"{abs(one.clock_ahead_s):.0f} s {how} the database's"
            _say(f"the clock of {one.station} is {off}: set it right")


def _say(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)
