"""What a watchdog is told."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.settings import DatabaseSettings


def test_a_migrated_database_is_healthy(page: httpx.Client) -> None:
    answer = page.get("/healthz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["revision"]
    assert page.head("/healthz").status_code == 200


def test_a_database_without_tables_names_the_cure(
    empty_database: DatabaseSettings, serve: Callable[..., str]
) -> None:
    address = serve(empty_database)
    health = httpx.get(f"{address}/healthz", timeout=20)
    assert health.status_code == 503
    assert "pyramidion migrate" in health.json()["reason"]
    page = httpx.get(address, timeout=20)
    assert page.status_code == 503
    assert "pyramidion migrate" in page.text


def test_an_unreachable_database_is_said_without_telling_where_it_is(
    home: Path, serve: Callable[..., str]
) -> None:
    gone: Any = "postgresql://inspector:hush-hush@127.0.0.1:1/plant"
    address = serve(DatabaseSettings(database_url=gone))
    health = httpx.get(f"{address}/healthz", timeout=20)
    assert health.status_code == 503
    assert "pyramidion doctor" in health.json()["reason"]
    page = httpx.get(address, timeout=20)
    assert page.status_code == 503
    for secret in ("hush-hush", "inspector", "127.0.0.1"):
        assert secret not in health.text
        assert secret not in page.text


def test_a_watchdog_takes_no_write_lock(page: httpx.Client, sessions: Any) -> None:
    with sessions.begin() as session:  # on SQLite this is the one writer
        session.connection()
        assert page.get("/healthz", timeout=5).status_code == 200
        assert page.get("/", timeout=5).status_code == 200


def test_prometheus_reads_how_far_sealing_has_come(page: httpx.Client, plant: Any) -> None:
    plant.accept()
    waiting = metrics(page)
    assert waiting["pyramidion_ledger_unsealed_facts"] >= 1
    assert waiting["pyramidion_ledger_lag_seconds"] > 0
    assert waiting["pyramidion_inspections_pending"] == 1
    seal(plant.sessions.kw["bind"], LedgerSettings())
    sealed = metrics(page)
    assert sealed["pyramidion_ledger_lag_seconds"] == 0
    assert sealed["pyramidion_ledger_blocks"] >= 1
    assert time.time() - sealed["pyramidion_ledger_sealed_timestamp_seconds"] < 60


def metrics(page: httpx.Client) -> dict[str, float]:
    answer = page.get("/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {sample.name: sample.value for family in families for sample in family.samples}
