"""Where `pyramidion golden` has its images from, and how it waits for verdicts."""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Final
from uuid import UUID

from capture.intake import golden_image
from capture.settings import CaptureSettings
from db import golden, golden_trials
from db.golden import StoredImage
from pyramidion.commands.show import find_one
from pyramidion.context import Context
from pyramidion.errors import UserError
from pyramidion.output import err

_LOOK_EVERY_S: Final = 0.25


def of_file(file: Path) -> tuple[bytes, StoredImage]:
    """Read an image that a station would take in; raises UserError, and GoldenError for one that can't be."""
    try:
        with file.open("rb") as opened:
            data = opened.read(CaptureSettings().max_image_bytes + 1)  # the one too many is refused
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from None
    return data, golden_image(data)


def of_inspection(context: Context, product: str, station: str, beginning: str) -> tuple[bytes, StoredImage]:
    """Give the stored image of an inspection, by the beginning of its id.

    Raises UserError, UnknownInspectionError, GoldenError and ImageStoreError.
    """
    with context.reading() as session:
        image = golden.image_of(session, product, station, find_one(session, beginning))
    return context.store.get(image.sha256), image


def await_trials(context: Context, trials: Collection[UUID], *, stalled_s: float) -> None:
    """Check trials as they are judged, until all are or none was for `stalled_s`.

    Whoever keeps house checks them, too; whoever comes first.
    """
    left, waited = len(trials), 0.0
    with err.status("") as status:
        while True:
            with context.reading() as session:
                waiting = [one for one in golden_trials.of(session, trials) if one.passed is None]
            if any(one.verdict is not None for one in waiting):
                with context.sessions.begin() as session:
                    golden_trials.check(session)
            if len(waiting) < left:
                left, waited = len(waiting), 0.0
            if not waiting or waited >= stalled_s:
                return
            status.update(f"{left} golden samples wait for their verdict")
            time.sleep(_LOOK_EVERY_S)
            waited += _LOOK_EVERY_S
