"""All that the page of an inspection shows, gathered."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from db import distribution, history, lineage
from db.history import Detail, Row
from db.imagestore import ImageStore, ImageStoreError
from db.lineage import Lineage, Reign
from db.matching import Filter
from db.tables import Attempt, ModelVersion
from web.inspections import overlay
from web.inspections.charts import Histogram, Step, histogram, steps

SAME_SERIAL = 20  # of a serial; it has a list of its own
PROBE = 64  # pixels: enough to find out whether an image decodes


@dataclass(frozen=True)
class Model:
    """The version that judged, where it comes from, and the time in which it was champion as it judged."""

    version: str
    lineage: Lineage | None  # None where the version is not registered here
    reign: Reign | None


@dataclass(frozen=True)
class Facts:
    """An inspection and what stands around it."""

    detail: Detail
    waiting: Attempt | None
    older: UUID | None  # of the same station
    newer: UUID | None
    same_serial: list[Row]  # newest first, with the inspection itself
    model: Model | None
    histogram: Histogram | None
    steps: list[Step]


def gather(session: Session, id_: UUID) -> Facts:
    """`session` should be one of db.engine.key_sessions. Raises UnknownInspectionError."""
    detail = history.inspection(session, id_)
    part, result = detail.inspection, detail.result
    older, newer = history.neighbours(session, part)
    bars = None
    if result is not None and result.score is not None and result.threshold is not None:
        scores = distribution.scores_before(session, id_, result.model_version or "")
        bars = histogram(scores, result.threshold, result.score)
    return Facts(
        detail=detail,
        waiting=session.get(Attempt, id_) if result is None else None,
        older=older,
        newer=newer,
        same_serial=[]
        if part.serial is None
        else history.search(session, Filter(serial=part.serial), SAME_SERIAL),
        model=_model(session, detail),
        histogram=bars,
        steps=[] if result is None else steps(result.timings),
    )


def damage(store: ImageStore, sha256: str) -> str | None:
    """Say what is wrong with a stored image, None where it is intact and can be shown."""
    try:
        overlay.upright(store.get(sha256), longest=PROBE)
    except (ImageStoreError, overlay.UndrawableError) as error:
        return str(error)
    return None


def _model(session: Session, detail: Detail) -> Model | None:
    result = detail.result
    if result is None or result.model_version is None:
        return None
    version = session.get(ModelVersion, result.model_version)
    if version is None:
        return Model(result.model_version, None, None)
    held = (
        one
        for one in lineage.reigns(session, version.product)
        if one.since <= result.judged_at and (one.until is None or result.judged_at < one.until)
    )
    reign = next((one for one in held if one.version == version.id), None)
    return Model(version.id, lineage.of(session, version), reign)
