"""Golden samples, as page and API add, retire and send them."""

from uuid import UUID

from capture.intake import golden_image
from db import golden, golden_trials
from db.golden import Expected, GoldenError
from db.tables import GoldenSample
from web.access import Principal
from web.site import Site
from workers import queue


def add(
    site: Site,
    who: Principal,
    product: str,
    station: str,
    name: str,
    expected: Expected,
    *,
    inspection: UUID | None,
    image: bytes | None,
) -> GoldenSample:
    """Add a sample: an image, or that of an inspection that the station has made.

    Raises GoldenError, UnknownProductError, UnknownInspectionError, UnkeepableNameError, ImageStoreError.
    """
    if (inspection is None) == (image is None):
        raise GoldenError("give the image once: a file, or the id of an inspection")
    if image is not None:
        kept = golden_image(image)
    else:
        with site.reading() as session:
            kept = golden.image_of(session, product, station, inspection or UUID(int=0))
        image = site.store.get(kept.sha256)
    site.store.put(image)  # also what is there: it becomes new, which retention leaves alone
    return site.act(lambda session: golden.add(session, product, station, name, expected, kept, who.name))


def retire(site: Site, who: Principal, product: str, station: str, name: str, why: str) -> None:
    """Send a sample no more; raises GoldenError."""
    site.act(lambda session: golden.retire(session, product, station, name, who.name, why))


def send(site: Site, who: Principal, product: str, station: str | None) -> tuple[list[UUID], bool]:
    """Send samples through the pipeline now; gives the trials, and whether they could be queued at once.

    Raises UnknownProductError and GoldenError.
    """
    trials = site.act(lambda session: golden_trials.send(session, product, who.name, station=station))
    try:
        queue.enqueue(trials)
    except queue.BrokerUnavailableError:
        return trials, False
    return trials, True
