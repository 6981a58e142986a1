"""Asking for trainings, and saying when they are due and what a new model is asked: as page and API do it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from db import policies, retraining, runs
from db.inspections import require_product
from web.access import Principal
from web.acting import signature
from web.site import Site
from workers import queue


def ask(site: Site, who: Principal, product: str) -> tuple[UUID, bool]:
    """Ask for a run; gives it, and whether a trainer could be woken: it is taken within seconds anyway.

    Raises UnknownProductError, TooFewGoodError and RunThereError.
    """
    run = site.act(lambda session: retraining.ask(session, product, who.name))
    try:
        queue.wake_trainer()
    except queue.BrokerUnavailableError:
        return run, False
    return run, True


def cancel(site: Site, who: Principal, run: UUID) -> None:
    """Cancel a run; raises UnknownRunError and RunOverError."""
    site.act(lambda session: runs.cancel(session, run, who.name))


def change_policy(
    site: Site, who: Principal, product: str, changes: Mapping[str, Any], password: str | None
) -> None:
    """Let other rules hold; raises what db.policies.change and web.acting.signature raise."""
    with site.writing() as session:
        require_product(session, product)
        signed = signature(session, "policy", who, password, "approval: policy")
        policies.change(session, product, changes, who.name, signed)
