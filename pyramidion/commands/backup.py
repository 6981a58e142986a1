"""`pyramidion backup` and `pyramidion restore`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyramidion.errors import FAILED, UserError
from pyramidion.output import err, out, print_json

if TYPE_CHECKING:
    from pyramidion.backup.manifest import Blobs

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
_LISTED = 10


def backup(
    folder: Annotated[Path, typer.Argument(help="Folder of backups, on another disk; made when it is new.")],
    images: Annotated[
        bool, typer.Option(help="Copy images and model weights too; those that are there already stay.")
    ] = True,
    with_key: Annotated[
        bool,
        typer.Option(
            "--with-key", help="Put the ledger's private key in: whoever has both can seal another history."
        ),
    ] = False,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Keep so many of the newest backups in FOLDER; without it, all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Back up the database and the images that it names, while everything runs.

    Exit code 1 where an image is lost or damaged: it is named, and the rest is backed up.
    """
    import getpass

    from db import events
    from db.ledger.settings import LedgerSettings
    from pyramidion.backup.make import Wanted, make
    from pyramidion.context import open_context

    context = open_context()
    wanted = Wanted(images=images, with_key=with_key, keep=keep)
    with _progress() as told:
        place, made = make(context, LedgerSettings(), folder.absolute(), wanted, told)
    lost = 0 if made.blobs is None else made.blobs.lost
    with context.sessions.begin() as session:
        detail = {"files": made.files, "head": made.holdings.head, "blobs_lost": lost}
        events.record(session, "backup.made", getpass.getuser(), str(place)[-255:], detail)
    if as_json:
        print_json({"backup": str(place), **asdict(made)})
    else:
        rows = made.holdings.rows
        out.print(
            f"{place}: {rows['inspections']} inspections, {rows['blocks']} blocks",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        _tell_of(made.blobs)
        if made.holdings.key is not None and not with_key:
            out.print(
                f"the ledger's key {made.holdings.key} is not in it: keep its file elsewhere",
                highlight=False,
                soft_wrap=True,
            )
    if lost:
        raise typer.Exit(FAILED)


def restore(
    folder: Annotated[
        Path, typer.Argument(help="Folder of backups, of which the newest is taken, or one of those in it.")
    ],
    only_images: Annotated[
        bool,
        typer.Option(
            "--only-images",
            help="Leave the database as it is, and bring back what the image store has lost or damaged.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an empty place; the same command goes on where it was cut off.

    Exit code 1 where an image is lost: it is named, and the rest is restored.
    """
    from db.ledger.settings import LedgerSettings
    from db.settings import DatabaseSettings
    from pyramidion.backup.restore import restore as restore_backup
    from pyramidion.backup.restore import restore_images
    from pyramidion.context import open_context

    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: name one that `pyramidion backup` has written to")
    if only_images:
        context = open_context()
        with _progress() as told:
            blobs = restore_images(context.settings, context.engine, folder.absolute(), told)
        if as_json:
            print_json({"blobs": asdict(blobs)})
        else:
            _tell_of(blobs)
        if blobs.lost:
            raise typer.Exit(FAILED)
        return
    with _progress() as told:
        done = restore_backup(DatabaseSettings(), LedgerSettings(), folder.absolute(), told)
    if as_json:
        print_json({**asdict(done), "backup": str(done.backup)})
    else:
        rows = done.manifest.holdings.rows
        out.print(
            f"restored {done.backup}, made at {done.manifest.made_at}: {rows['inspections']} inspections, "
            f"{rows['blocks']} blocks",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        _tell_of(done.blobs)
        for note in done.notes:
            err.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
        out.print("compare it with what was sealed: pyramidion audit verify --blobs all")
    if done.blobs is not None and done.blobs.lost:
        raise typer.Exit(FAILED)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description:10}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err) as bar:
        task = bar.add_task("database", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def _tell_of(blobs: "Blobs | None") -> None:
    if blobs is None:
        out.print("images and weights are not in it: their store keeps its own copies")
        return
    out.print(
        f"images and weights: {blobs.copied} copied, {blobs.there} there already, {blobs.lost} lost",
        highlight=False,
    )
    for why in list(blobs.named.values())[:_LISTED]:
        err.print(f"lost: {why}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if blobs.lost > _LISTED:
        err.print(f"... and {blobs.lost - _LISTED} more", style="yellow")
