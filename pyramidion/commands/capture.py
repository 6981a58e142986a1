"""`pyramidion capture`: a folder of images on its way to be inspected."""

from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event
from typing import Annotated, TypeAlias

import typer

from capture.folder import FolderSource
from capture.images import Limits
from capture.room import megabytes
from capture.run import Progress
from capture.settings import CaptureSettings
from capture.sources import Item
from db import inspections
from db.outage import UNAVAILABLE
from db.text import require_name
from pyramidion.commands.up import stop_on_signals
from pyramidion.context import open_context
from pyramidion.errors import FAILED, INTERRUPTED, UserError, sentence
from pyramidion.intake import await_verdicts, count_pending, hand_to, take_in, warn
from pyramidion.output import err, out, print_json

_LISTED = 10
# Hands on what a source gives; says what became of it, and how many wait for a verdict where that is known.
Hand: TypeAlias = Callable[[Iterable[Item], Event], tuple[Progress, int | None]]


def capture(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of images; folders in it as well.")],
    product: Annotated[str, typer.Option(help="What is on the images.")],
    station: Annotated[str, typer.Option(help="Where they were taken.")],
    line: Annotated[str | None, typer.Option(help="The line that the station belongs to.")] = None,
    lot: Annotated[str | None, typer.Option(help="The lot that the parts belong to.")] = None,
    serial_from_name: Annotated[
        bool, typer.Option("--serial-from-name", help="A file's name without its suffix is the serial.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Server to upload to; else PYRAMIDION_UPLOAD_URL, or the database."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File of the token for the server; else PYRAMIDION_UPLOAD_TOKEN.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on with new files until Ctrl-C.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the product's verdicts are there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Inspect the images of a folder; running it again inspects nothing twice."""
    if watch and wait:
        raise UserError("--watch never ends, so there is nothing to --wait for: leave one of them out")
    for what, name in (("product", product), ("station", station), ("line", line), ("lot", lot)):
        require_name(what, name)
    settings = CaptureSettings()
    source = FolderSource(folder, product, station, Limits.of(settings), line, lot, serial_from_name)
    url = to or settings.upload_url
    if url is None and token_file is not None:
        raise UserError("--token-file is of who uploads: name the server with --to URL")
    if url is not None and wait:
        raise UserError("who uploads sees no verdicts: leave out --wait, and look at the server's page")
    hand = (
        _into_database(product, station, lot, wait) if url is None else _to_server(url, token_file, station)
    )
    stop = stop_on_signals()
    if watch:
        err.print(f"watching {folder}; Ctrl-C ends it", markup=False, highlight=False)
        items = source.watched(stop, poll_s=settings.poll_s, settle_s=settings.settle_s)
    else:
        items = source.existing()
    progress, pending = hand(items, stop)
    if as_json:
        print_json(_report(progress, pending))
    else:
        _print(progress, product, pending)
    if stop.is_set() and not watch:
        raise typer.Exit(INTERRUPTED)
    nothing = progress.accepted + progress.known + progress.recovered == 0
    if (nothing and not watch) or (wait and pending != 0):
        raise typer.Exit(FAILED)


def _into_database(product: str, station: str, lot: str | None, wait: bool) -> Hand:
    context = open_context(hot=True)
    with context.reading() as session:
        inspections.require_product(session, product)

    def hand(items: Iterable[Item], stop: Event) -> tuple[Progress, int | None]:
        progress = take_in(context, station, items, stop)
        count = partial(count_pending, context, product, station, lot)
        try:
            return progress, await_verdicts(count, stop, stalled_s=60) if wait else count()
        except UNAVAILABLE as error:  # what was taken in is worth its report all the same
            warn(f"how many wait for a verdict is not known: {sentence(error)}")
            return progress, None

    return hand


def _to_server(url: str, token_file: Path | None, station: str) -> Hand:
    from pyramidion.uploading import open_upload

    target = open_upload(url, token_file)

    def hand(items: Iterable[Item], stop: Event) -> tuple[Progress, int | None]:
        with closing(target):
            return hand_to(target, station, items, stop), None

    return hand


def _report(progress: Progress, pending: int | None) -> dict[str, object]:
    return {
        "accepted": progress.accepted,
        "known": progress.known,
        "recovered": progress.recovered,
        "refused": progress.refused,
        "skipped": progress.skipped,
        "unannounced": progress.unannounced,
        "in_spool": progress.waiting,
        "in_spool_bytes": progress.waiting_bytes,
        "pending": pending,
        "left_out": [{"name": one.name, "reason": one.reason} for one in progress.left_out],
    }


def _print(progress: Progress, product: str, pending: int | None) -> None:
    said = [f"{progress.accepted} images accepted"]
    said += [f"{progress.recovered} from an earlier run"] if progress.recovered else []
    said += [f"{progress.known} known already"] if progress.known else []
    said += [f"{progress.refused} refused"] if progress.refused else []
    said += [f"{progress.skipped} files skipped"] if progress.skipped else []
    out.print(", ".join(said), highlight=False)
    for one in progress.left_out[:_LISTED]:
        warn(f"  {one.name}: {one.reason}")
    if len(progress.left_out) > _LISTED:
        warn(f"  ... and {len(progress.left_out) - _LISTED} more; --json lists them")
    if progress.unannounced:
        warn(
            f"the broker did not answer: {progress.unannounced} images are kept, and queued when it is back "
            "(`pyramidion up` brings one)"
        )
    if progress.waiting:
        warn(
            f"{progress.waiting} images ({megabytes(progress.waiting_bytes)}) wait in the spool; run the "
            "same command again to take them in"
        )
    if pending:
        out.print(f"{pending} wait for a verdict: pyramidion results --product {product}")
    elif pending == 0 and progress.accepted + progress.known:
        out.print(f"all are judged: `pyramidion results --product {product}`")
