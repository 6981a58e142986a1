"""What a plant's Prometheus scrapes: how far sealing has come, and what waits."""

from collections.abc import Iterator

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CollectorRegistry, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from db.ledger.status import look
from db.tables import Attempt
from web.access import Permission, needs
from web.site import Here

router = APIRouter(include_in_schema=False)


class _Gathered(Collector):
    """Metrics that were read already: a failing database is answered as everywhere, not half-way through."""

    def __init__(self, session: Session) -> None:
        self._found = list(_gather(session))

    def collect(self) -> Iterator[Metric]:
        yield from self._found


@router.api_route("/metrics", methods=["GET", "HEAD"], dependencies=[needs(Permission.METRICS)])
def metrics(site: Here) -> Response:
    """Give the metrics in Prometheus's text format; with a password set, it takes that (basic_auth)."""
    registry = CollectorRegistry()
    with site.reading() as session:
        registry.register(_Gathered(session))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _gather(session: Session) -> Iterator[Metric]:
    sealed = look(session)
    yield GaugeMetricFamily(
        "pyramidion_ledger_lag_seconds",
        "For how long the fact that waits longest has waited to be sealed; 0 where none waits.",
        sealed.waiting.lag_s,
    )
    yield GaugeMetricFamily(
        "pyramidion_ledger_unsealed_facts", "Facts that wait to be sealed.", sealed.waiting.facts
    )
    yield GaugeMetricFamily("pyramidion_ledger_blocks", "Blocks of the ledger.", sealed.blocks)
    if sealed.sealed_at is not None:
        yield GaugeMetricFamily(
            "pyramidion_ledger_sealed_timestamp_seconds",
            "When the newest block was sealed.",
            sealed.sealed_at.timestamp(),
        )
    told = GaugeMetricFamily(
        "pyramidion_ledger_anchored_block", "The last block whose head was told to a place.", labels=["place"]
    )
    for anchor in sealed.anchors:
        told.add_metric([anchor.place], anchor.block)
    yield told
    yield GaugeMetricFamily(
        "pyramidion_inspections_pending",
        "Accepted inspections without a verdict.",
        session.scalar(select(func.count()).select_from(Attempt)) or 0,
    )
