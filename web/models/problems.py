"""With which status the pages and the API of models, training, golden samples and drift refuse."""

from typing import Final

from db.beside import NothingToCompareError
from db.bundles import AlteredModelError
from db.champions import ChallengerChangedError
from db.golden import GoldenError, UnknownSampleError
from db.models import (
    ChampionChangedError,
    NoChallengerError,
    NoFormerChampionError,
    UnknownModelError,
)
from db.policies import PolicyError
from db.rescorings import RescoringError
from db.retraining import TooFewGoodError
from db.runs import RunOverError, RunThereError, UnknownRunError
from db.schedules import ScheduleError
from db.trends import InvalidShiftsError
from web.drift.span import InvalidSpanError
from web.models.shown import UnknownVersionError
from web.rescoring.acts import UnknownRescoringError

STATUS: Final[dict[type[Exception], int]] = {
    UnknownModelError: 404,
    UnknownVersionError: 404,
    ChampionChangedError: 409,
    ChallengerChangedError: 409,
    NoChallengerError: 409,
    NoFormerChampionError: 409,
    AlteredModelError: 409,
    NothingToCompareError: 422,
    UnknownRunError: 404,
    RunThereError: 409,
    RunOverError: 409,
    TooFewGoodError: 409,
    ScheduleError: 422,
    PolicyError: 422,
    UnknownSampleError: 404,
    GoldenError: 422,
    UnknownRescoringError: 404,
    RescoringError: 422,
    InvalidSpanError: 422,
    InvalidShiftsError: 422,
}
