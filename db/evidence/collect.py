"""Gathering what belongs to a lot, a serial or an inspection, each fact with its proof."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.ledger import lots_let_go, merkle
from db.ledger.facts import Kind, document, fact_id
from db.ledger.lots_let_go import Proved
from db.ledger.proofs import NotAsSealedError, Proof, Prover
from db.tables import Event, Inspection, Result, Review, UnsealedFact

AT_ONCE: Final = 200  # inspections


class NothingThereError(Exception):
    """There is no inspection that the evidence could be about."""


class UnsettledError(Exception):
    """What the evidence is about changes just now; the next moment it can be had."""


class TamperedActError(NotAsSealedError):
    """An act of retention says otherwise than what was written down of it."""

    def __init__(self, act: UUID, lot: str) -> None:
        Exception.__init__(
            self,
            f"released_lots says otherwise than the act of retention {act} how much of lot {lot!r} went: run "
            "`pyramidion audit verify`",
        )


@dataclass(frozen=True)
class Subject:
    """What evidence is about: a lot or a serial by its name, or one inspection by its id."""

    what: str  # lot, serial or inspection
    value: str

    def ids(self, session: Session) -> list[UUID]:
        """Give its inspections, oldest first; raises NothingThereError where there never was one.

        Of a lot all may have been let go; a serial is forgotten with its rows.
        """
        column: Any = {"lot": Inspection.lot, "serial": Inspection.serial, "inspection": Inspection.id}[
            self.what
        ]
        value = UUID(self.value) if self.what == "inspection" else self.value
        found = list(session.scalars(select(Inspection.id).where(column == value).order_by(Inspection.id)))
        if not found and not (self.what == "lot" and lots_let_go.of_lot(session, self.value)):
            went = ", or retention let it go" if self.what == "serial" else ""
            raise NothingThereError(
                f"no inspection has {self.what} {self.value!r}{went}; "
                "`pyramidion results` lists what there is"
            )
        return found

    def let_go(self, session: Session) -> list[Proved]:
        """Give what retention let go of a lot; of a serial nobody can tell.

        Raises TamperedActError where that is not what the act has sealed, UnsettledError where the act itself
        is not sealed yet.
        """
        found = lots_let_go.prove(session, self.value) if self.what == "lot" else []
        for one in found:
            root = merkle.root_from(one.went.leaf(), one.position, one.leaves, one.path)
            if root is None or root.hex() != one.act.detail.get("lots_root"):
                raise TamperedActError(one.act.id, self.value)
        acts = {one.act.id for one in found}
        waits = UnsealedFact.kind == Kind.EVENT.value, UnsealedFact.fact.in_(acts)
        if session.scalar(select(UnsealedFact.fact).where(*waits).limit(1)):
            raise UnsettledError(f"retention lets parts of lot {self.value!r} go just now: ask for it again")
        return found


@dataclass
class Part:
    """An inspection with all that was said of it; contents of facts are as they were sealed."""

    inspection: dict[str, Any]
    result: dict[str, Any] | None = None
    reviews: list[dict[str, Any]] = field(default_factory=list)  # oldest first
    proofs: list[Proof] = field(default_factory=list)


class Gatherer:
    """Gathers within one snapshot; `unsealed` counts the facts that came too late for it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.prover = Prover(session)
        self.unsealed = 0

    def parts(self, ids: list[UUID]) -> Iterator[Part]:
        """Give the inspections among `ids` that are sealed, with their facts.

        Raises db.ledger.proofs.NotAsSealedError where a fact was tampered with.
        """
        for start in range(0, len(ids), AT_ONCE):
            yield from self._some(ids[start : start + AT_ONCE])

    def _some(self, ids: list[UUID]) -> Iterator[Part]:
        parts: dict[str, Part] = {}
        for proof in self._proved(Kind.INSPECTION, ids):
            fact = document(proof.content)
            parts[fact["id"]] = Part(fact, proofs=[proof])
        judged = select(Result.inspection_id).where(Result.inspection_id.in_(ids))
        for proof in self._proved(Kind.RESULT, list(self._session.scalars(judged))):
            fact = document(proof.content)
            part = parts[fact["inspection_id"]]
            part.result = fact
            part.proofs.append(proof)
        reviewed = select(Review.id).where(Review.inspection_id.in_(ids))
        for proof in self._proved(Kind.REVIEW, list(self._session.scalars(reviewed))):
            fact = document(proof.content)
            part = parts[fact["inspection_id"]]
            part.reviews.append(fact)
            part.proofs.append(proof)
        yield from parts.values()

    def models(self, versions: set[str]) -> Iterator[Proof]:
        """Give the model versions that judged."""
        yield from self._proved(Kind.MODEL_VERSION, [fact_id(Kind.MODEL_VERSION, one) for one in versions])

    def events(self, products: set[str], acts: set[UUID]) -> Iterator[Proof]:
        """Give `acts`, and the promotions of models: which one was to judge a product, and since when."""
        promoted = select(Event.id).where(Event.kind == "model.promoted", Event.subject.in_(products))
        yield from self._proved(Kind.EVENT, [*self._session.scalars(promoted), *sorted(acts)])

    def _proved(self, kind: Kind, ids: list[UUID]) -> list[Proof]:
        proofs = list(self.prover.prove(kind, ids))
        if len(proofs) == len(ids):
            return proofs
        keys = {_key(kind, proof) for proof in proofs}
        waiting = set(
            self._session.scalars(
                select(UnsealedFact.fact).where(UnsealedFact.kind == kind.value, UnsealedFact.fact.in_(ids))
            )
        )
        for id_ in ids:
            if id_ not in keys and id_ not in waiting:
                raise NotAsSealedError(kind, id_)
        self.unsealed += len(ids) - len(proofs)
        return proofs


def _key(kind: Kind, proof: Proof) -> UUID:
    fact = document(proof.content)
    return fact_id(kind, fact["inspection_id"] if kind is Kind.RESULT else fact["id"])
