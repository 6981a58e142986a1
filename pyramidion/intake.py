"""Runs a source's images through spool and intake, telling a person how it goes."""

from collections.abc import Callable, Iterable
from threading import Event

from capture.images import Limits
from capture.intake import Intake
from capture.run import Progress, run
from capture.settings import CaptureSettings
from capture.sources import Item
from capture.spool import Spool
from capture.target import Target
from db import inspections
from pyramidion.context import Context
from pyramidion.output import err
from workers.queue import enqueue


def take_in(context: Context, station: str, items: Iterable[Item], stop: Event) -> Progress:
    """Take in what `items` give until they end or `stop` is set; raises what capture.run.run raises.

    Raises ImageStoreUnavailableError where the store is a mount point without its disk.
    """
    context.require_images()
    intake = Intake(context.sessions, context.store, enqueue, Limits.of(CaptureSettings()))
    return hand_to(intake, station, items, stop)


def hand_to(target: Target, station: str, items: Iterable[Item], stop: Event) -> Progress:
    """Hand what `items` give to `target`, through the station's spool; raises what capture.run.run raises."""
    settings = CaptureSettings()
    with Spool(settings.spool(), station) as spool, err.status("taking images in") as status:

        def tell(progress: Progress) -> None:
            taken = progress.accepted + progress.recovered
            status.update(f"{taken} accepted, {progress.known} known, {progress.refused} refused")

        return run(items, spool, target, settings, stop=stop, on_progress=tell, say=warn)


def warn(text: str) -> None:
    err.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def count_pending(context: Context, product: str, station: str, lot: str | None) -> int:
    with context.reading() as session:
        return inspections.counts(session, product=product, station=station, lot=lot).pending


def await_verdicts(count: Callable[[], int], stop: Event, *, stalled_s: float) -> int:
    """Wait until `count` gives 0, or the same for `stalled_s`; gives what is still pending."""
    left = count()
    waited = 0.0
    with err.status("") as status:
        while left and not stop.is_set():
            status.update(f"{left} images wait for their verdict")
            stop.wait(0.25)
            waited += 0.25
            now = count()
            if now != left:
                left, waited = now, 0.0
            elif waited >= stalled_s:
                break
    return left
