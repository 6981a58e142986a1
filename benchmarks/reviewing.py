"""How fast the review queue hands parts out: `python -m benchmarks.reviewing [--rows N] [--database D]`.

Over a history as `pyramidion bench history` makes it, whose unreviewed parts all wait, several people ask in
turn for the next part, by each way to choose, and review every third. Each act is a transaction of its own.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select

from benchmarks import history
from benchmarks.databases import empty_database
from db import review_claims, review_queue, reviews
from db.engine import session_factory
from db.review_queue import Wanted
from db.tables import ToReview

PEOPLE = [f"person-{n}" for n in range(8)]
REPEATS = 200


def fill_queue(engine: Engine) -> int:
    """Let wait what the migration would, and give how much that is."""
    with session_factory(engine).begin() as session:
        review_queue.forget(session, ToReview.source != "")
        for statement in import_module("db.migrations.versions.0010_let_people_in").fill_queue():
            session.connection().exec_driver_sql(statement)
        return session.scalars(select(func.count()).select_from(ToReview)).one()


def ways(made: history.Made) -> dict[str, Callable[[], Wanted]]:
    products = list(made.models)
    return {
        "any, oldest first": Wanted,
        "any, newest first": lambda: Wanted(newest_first=True),
        "ng": lambda: Wanted("ng"),
        "borderline of a product": lambda: Wanted("borderline", random.choice(products)),
        "ng of a line": lambda: Wanted("ng", line=f"line-{random.randrange(4)}"),
        "of a lot": lambda: Wanted(lot=f"lot-{random.randrange(made.rows // history.LOT):07}"),
        "of a lot that is not there": lambda: Wanted(lot="lot-none"),
    }


def measure(engine: Engine, made: history.Made) -> dict[str, dict[str, float]]:
    """Give milliseconds of each act (p50, p95, most)."""
    sessions, reading = session_factory(engine), session_factory(engine, read_only=True)
    found: dict[str, list[float]] = {}

    def timed(name: str, act: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        answer = act()
        found.setdefault(name, []).append(1000 * (time.perf_counter() - started))
        return answer

    def hand_out(wanted: Wanted, person: str) -> Any:
        with sessions.begin() as session:
            return review_claims.hand_out(session, wanted, person, timedelta(minutes=5))

    def review(id_: Any, person: str) -> None:
        with sessions.begin() as session:
            reviews.record(session, id_, "confirm", person, known="all")

    def count(wanted: Wanted) -> Any:
        with reading() as session:
            return review_queue.counts(session, wanted)

    for name, choose in ways(made).items():
        for turn in range(REPEATS):
            person, wanted = PEOPLE[turn % len(PEOPLE)], choose()
            out = timed(f"hand out {name}", partial(hand_out, wanted, person))
            if out is not None and turn % 3 == 0:
                timed("review", partial(review, out.claim.inspection_id, person))
            if turn % 10 == 0:
                timed(f"count {name}", partial(count, wanted))
    return {
        name: {"p50": statistics.median(ms), "p95": statistics.quantiles(ms, n=20)[-1], "most": max(ms)}
        for name, ms in sorted(found.items())
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", default="sqlite", help="sqlite, postgresql, or a server's URL")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="pyramidion-bench-") as folder,
        empty_database(asked.database, Path(folder)) as engine,
    ):
        made = history.set_up(engine, asked.rows)
        history.load(engine, made, 0, asked.rows)
        history.tidy(engine)
        started = time.perf_counter()
        waiting = fill_queue(engine)
        filled_s = time.perf_counter() - started
        ms = measure(engine, made)
    if asked.json:
        print(json.dumps({"rows": asked.rows, "waiting": waiting, "filled_s": filled_s, "ms": ms}))
        return
    print(f"{asked.rows:,} inspections, {waiting:,} wait (found in {filled_s:.1f} s)")
    for name, figures in ms.items():
        print(f"{name:40} " + "  ".join(f"{kind} {value:7.1f} ms" for kind, value in figures.items()))


if __name__ == "__main__":
    main()
