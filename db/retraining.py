"""Asking for a new model of what the line itself has produced, as a person does."""

from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from db import inspections, runs

LEAST_GOOD: Final = 8  # images; what model.images says, too, as a test sees to


class TooFewGoodError(Exception):
    """The product has too few good images to train on."""

    def __init__(self, product: str, good: int) -> None:
        super().__init__(
            f"{product!r} has {good} parts that passed for good, at least {LEAST_GOOD} are needed: "
            "capture more, review what was rejected wrongly, or train on a folder "
            f"(`pyramidion train {product} --images DIR`)"
        )


def ask(session: Session, product: str, by: str) -> UUID:
    """Ask for a training now; gives the run. Whoever commits then wakes the trainers (workers.queue).

    Raises UnknownProductError, TooFewGoodError, and RunThereError where one is requested or running.
    """
    inspections.require_product(session, product)
    good = inspections.count_ok(session, product, LEAST_GOOD)
    if good < LEAST_GOOD:
        raise TooFewGoodError(product, good)
    return runs.request(session, product, "on demand", by)
