"""What has to hold of the history: nothing lost, nothing twice, nothing changed, everything readable."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import inspections
from db.engine import make_engine, session_factory
from db.imagestore import ImageStore, ImageStoreError, open_image_store
from db.inspections import Counts
from db.ledger.facts import Kind
from db.ledger.settings import LedgerSettings
from db.ledger.verify import Wanted, verify
from db.settings import DatabaseSettings
from db.tables import AnomalyMap, Inspection, Result, SealedFact, UnsealedFact
from model.maps import decode_map
from tests.faults.ground import Postgres
from tests.faults.line import Line
from tests.faults.plant import Plant

Verdicts: TypeAlias = dict[str, tuple[object, ...]]
_NAMED = 5


def verdicts(postgres: Postgres) -> Verdicts:
    """Give what stands now of each verdict."""
    rows = postgres.query("SELECT inspection_id, verdict, score, attempts, judged_at, error FROM results")
    return {str(row[0]): tuple(row[1:]) for row in rows}


def accepted(postgres: Postgres) -> int:
    return int(str(postgres.query("SELECT count(*) FROM inspections")[0][0]))


def judged(postgres: Postgres, last: str) -> int:
    """Count the verdicts on parts up to the serial `last`: serials ascend."""
    joined = "results JOIN inspections ON id = inspection_id"
    rows = postgres.query(f"SELECT count(*) FROM {joined} WHERE serial <= %s", last)
    return int(str(rows[0][0]))


def longest_wait_s(postgres: Postgres) -> float:
    """Give the longest time from acceptance to verdict, outages included."""
    waits = "max(extract(epoch FROM judged_at - received_at))"
    rows = postgres.query(f"SELECT {waits} FROM results JOIN inspections ON id = inspection_id")
    return float(str(rows[0][0]))


def changed(before: Verdicts, now: Verdicts) -> list[str]:
    """Say which verdicts are gone or others than they were."""
    wrong = [one for one in before if now.get(one) != before[one]]
    return _told("verdicts that changed", wrong)


def prove(plant: Plant, line: Line) -> tuple[Counts, list[str]]:
    """Look through everything that is kept; gives the counts, and what is wrong."""
    engine = make_engine(DatabaseSettings())
    store = open_image_store(DatabaseSettings())
    try:
        with session_factory(engine, read_only=True)() as session:
            counts = inspections.counts(session)
            wrong = [
                *_parts(session, line),
                *_verdicts(session, line),
                *_maps(session),
                *_images(session, store),
                *_sealed_once(session, counts),
            ]
        ledger = verify(engine, Wanted(heads=[LedgerSettings().anchor_file()]))
        wrong += _told("facts and blocks that the ledger doubts", ledger.bad)
    finally:
        engine.dispose()
    if counts.pending or plant.pending():
        wrong.append(f"{counts.pending} inspections are pending")
    waiting = [path for path in plant.spools.folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return counts, wrong + _told("files left in the spool", waiting)


def _parts(session: Session, line: Line) -> list[str]:
    """Every part that was given is one inspection, and no other part is."""
    serials = Counter(session.scalars(select(Inspection.serial)))
    given = set(line.given)
    return [
        *_told("parts that are lost", given - serials.keys()),
        *_told("parts that nobody gave", serials.keys() - given),
        *_told("parts that were inspected twice", [one for one, times in serials.items() if times > 1]),
    ]


def _verdicts(session: Session, line: Line) -> list[str]:
    """Poison is judged error, and nothing else is."""
    failed = set(
        session.scalars(
            select(Inspection.serial)
            .join(Result, Result.inspection_id == Inspection.id)
            .where(Result.verdict == "error")
        )
    )
    return [
        *_told("good parts that are judged error", failed - set(line.poisons)),
        *_told("poison that is not judged error", set(line.poisons) - failed),
    ]


def _maps(session: Session) -> list[str]:
    """Every verdict of a model has a map that can be read and is what its row says."""
    judged = session.scalar(select(func.count()).where(Result.verdict != "error").select_from(Result))
    bad, number = [], 0
    for one in session.scalars(select(AnomalyMap).execution_options(yield_per=200)):
        number += 1
        values = decode_map(one.data, bits=one.bits, low=one.low, high=one.high)
        if hashlib.sha256(one.data).hexdigest() != one.sha256 or values.shape != (one.height, one.width):
            bad.append(str(one.inspection_id))
    return [
        *_told("maps that are not what was recorded", bad),
        *([] if number == judged else [f"{judged} verdicts of models have {number} maps"]),
    ]


def _images(session: Session, store: ImageStore) -> list[str]:
    """Every image is in the store, as it came; reading compares its hash."""
    hashes = list(session.scalars(select(Inspection.image_sha256)))
    return _told("images", [str(one) for one in store.get_many(hashes) if isinstance(one, ImageStoreError)])


def _sealed_once(session: Session, counts: Counts) -> list[str]:
    """Every verdict was handed to the ledger once: it is sealed, or waits to be."""
    handed = [
        *session.scalars(select(SealedFact.fact).where(SealedFact.kind == Kind.RESULT)),
        *session.scalars(select(UnsealedFact.fact).where(UnsealedFact.kind == Kind.RESULT)),
    ]
    if len(handed) == len(set(handed)) == counts.accepted - counts.pending:
        return []
    return [f"{counts.accepted - counts.pending} verdicts are {len(handed)} facts of the ledger"]


def _told(what: str, found: Iterable[object]) -> list[str]:
    named = sorted(map(str, found))
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return [f"{what}: {', '.join(named[:_NAMED])}{more}"] if named else []
