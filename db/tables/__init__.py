"""The tables. Facts (INSERT_ONLY) are never changed or removed: triggers of the migrations refuse it.

Whoever inserts an inspection, a result, a review, an event or a model version hands it to the ledger in the
same transaction (`db.ledger.unsealed.add`; `db.insert.insert_missing` does). One that never was is found by
`pyramidion audit verify`.
"""

from db.tables.base import Base
from db.tables.facts import (
    AnomalyMap,
    Event,
    Inspection,
    ModelAlias,
    ModelVersion,
    Product,
    Result,
    Review,
    Station,
)
from db.tables.ledger import (
    Anchor,
    Block,
    LedgerKey,
    ReleasedFact,
    ReleasedLot,
    SealedFact,
    UnsealedFact,
    Verification,
)
from db.tables.people import Answered, Login, ReviewClaim, SavedFilter, Token, User
from db.tables.quality import (
    Alarm,
    DriftSample,
    DriftWindow,
    GoldenSample,
    GoldenSchedule,
    GoldenTrial,
)
from db.tables.training import Dataset, Policy, Schedule, TrainingRun
from db.tables.work import Attempt, Lease, Rescore, Rescoring, Shadow, ToReview

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "INSERT_ONLY",
    "VERDICTS",
    "Alarm",
    "Anchor",
    "AnomalyMap",
    "Answered",
    "Attempt",
    "Base",
    "Block",
    "Dataset",
    "DriftSample",
    "DriftWindow",
    "Event",
    "GoldenSample",
    "GoldenSchedule",
    "GoldenTrial",
    "Inspection",
    "Lease",
    "LedgerKey",
    "Login",
    "ModelAlias",
    "ModelVersion",
    "Policy",
    "Product",
    "ReleasedFact",
    "ReleasedLot",
    "Rescore",
    "Rescoring",
    "Result",
    "Review",
    "ReviewClaim",
    "SavedFilter",
    "Schedule",
    "SealedFact",
    "Shadow",
    "Station",
    "ToReview",
    "Token",
    "TrainingRun",
    "UnsealedFact",
    "User",
    "Verification",
]

CHAMPION = "champion"  # the alias of the version that judges
CHALLENGER = "challenger"  # ... and of the one that scores beside it, to take its place
VERDICTS = ("ok", "ng", "inconclusive", "error")
INSERT_ONLY = (
    "inspections",
    "results",
    "anomaly_maps",
    "model_versions",
    "datasets",
    "reviews",
    "events",
    "ledger_keys",
    "blocks",
    "sealed_facts",
    "released_facts",
    "released_lots",
)
