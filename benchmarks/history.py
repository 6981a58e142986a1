"""How fast a long history answers: `pyramidion bench history`.

Makes a history of inspections with results in an empty database, month by month as a plant would
(20 stations on 4 lines, 8 products, lots of 500 parts, 12 months, 1.5 % ng; maps for 1 in 1000, reviews for
a third of the ng), and asks it what auditors ask, each question many times with other values. At 100,000, at
a million and at the end: how it grows. Rows are loaded past the ledger; the insert rate is measured through
the application, ledger's waiting room included. The database is removed at the end.
"""

import hashlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, event, func, select, text
from sqlalchemy.orm import Session

from benchmarks.databases import empty_database
from db import history, inspections, models, partitions, results
from db.engine import one_by_one, session_factory
from db.facets import facets
from db.ids import uuid7
from db.imagestore import key_of
from db.matching import Filter
from db.tables import AnomalyMap, Inspection, Result, Review
from db.types import to_json

SIZES = (100_000, 1_000_000)
PAGE = 50
LOT = 500
_MONTHS = 12
_PRODUCTS = [f"product-{n}" for n in range(8)]
_STATIONS = [f"station-{n:02}" for n in range(20)]
_AT_ONCE = 20_000
_TURNS = 20
_BATCH = 64  # as a worker commits them
_TIMINGS = to_json({"read_ms": 1.5, "decode_ms": 4.2, "score_ms": 9.1, "encode_ms": 0.4, "total_ms": 16.0})


@dataclass(frozen=True)
class Made:
    """What a question may ask for."""

    rows: int
    begin: datetime
    end: datetime
    models: dict[str, str]

    def at(self, share: float) -> datetime:
        return self.begin + (self.end - self.begin) * share

    def some_time(self, days: float) -> tuple[datetime, datetime]:
        since = self.at(random.random())
        return since, since + timedelta(days=days)


def generate(made: Made, first: int, last: int) -> Iterator[dict[str, list[tuple[Any, ...]]]]:
    """Give rows number `first` to `last` of `made.rows`, in the order of time, some at a time."""
    rng = random.Random(first)
    step = (made.end - made.begin) / made.rows
    for start in range(first, last, _AT_ONCE):
        tables: dict[str, list[tuple[Any, ...]]] = {
            name: [] for name in ("inspections", "results", "anomaly_maps", "reviews")
        }
        for n in range(start, min(start + _AT_ONCE, last)):
            _row(made, rng, n, made.begin + step * n, tables)
        yield tables


def _row(made: Made, rng: random.Random, n: int, at: datetime, tables: dict[str, Any]) -> None:
    id_ = uuid7(at, rng.randbytes(10))
    station = rng.randrange(len(_STATIONS))
    product = _PRODUCTS[(station + n // 200_000) % len(_PRODUCTS)]  # lines change over now and then
    sha256 = rng.randbytes(32).hex()
    names = (product, _STATIONS[station], f"line-{station // 5}", f"{n // 2:010}", f"lot-{n // LOT:07}")
    tables["inspections"].append(
        (id_, *names, at, at, sha256, key_of(sha256), 400_000, 1024, 1024, "JPEG")
    )  # a part has two images: two rows have its serial
    drawn = rng.random()
    verdict = (
        "ng" if drawn < 0.015 else "inconclusive" if drawn < 0.018 else "error" if drawn < 0.019 else "ok"
    )
    score = rng.uniform(1, 3) if verdict == "ng" else rng.lognormvariate(-0.8, 0.25)
    failed = verdict == "error"
    regions = "[]"
    if verdict == "ng":
        area = round(rng.lognormvariate(5, 1.2))
        regions = to_json([{"x": 5, "y": 9, "width": 40, "height": 30, "area": area, "peak": score}])
    judged = (None, None, None) if failed else (score, 1.0, made.models[product])
    error = "the image is truncated" if failed else None
    tables["results"].append(
        (id_, verdict, *judged, "worker-1", 1, at + timedelta(seconds=1), _TIMINGS, regions, error)
    )
    if rng.random() < 0.001 and not failed:
        data = rng.randbytes(7000)
        scale = ("png", 8, 0.0, score, 128, 128)
        tables["anomaly_maps"].append((id_, *scale, data, hashlib.sha256(data).hexdigest()))
    if (verdict == "ng" and rng.random() < 0.33) or rng.random() < 0.0005:
        said = rng.choice(("confirm", "confirm", "confirm", "overrule", "inconclusive"))
        later = at + timedelta(hours=1)
        tables["reviews"].append((uuid7(later, rng.randbytes(10)), id_, said, "inspector", None, later))


_COLUMNS = {
    "inspections": [column.name for column in Inspection.__table__.columns],
    "results": [column.name for column in Result.__table__.columns],
    "anomaly_maps": [column.name for column in AnomalyMap.__table__.columns],
    "reviews": ["id", "inspection_id", "verdict", "reviewer", "reason", "created_at"],
}


def load(engine: Engine, made: Made, first: int, last: int) -> None:
    """Load rows as fast as the database takes them, past foreign keys where the server lets us."""
    for tables in generate(made, first, last):
        if engine.dialect.name == "sqlite":
            _into_sqlite(engine, tables)
        else:
            _into_postgresql(engine, tables)


def _into_sqlite(engine: Engine, tables: dict[str, list[tuple[Any, ...]]]) -> None:
    with engine.begin() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        for table, rows in tables.items():
            marks = ", ".join("?" * len(_COLUMNS[table]))
            statement = f"INSERT INTO {table} ({', '.join(_COLUMNS[table])}) VALUES ({marks})"
            raw.executemany(statement, (tuple(map(_plain, row)) for row in rows))


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return value.bytes
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return value


def _into_postgresql(engine: Engine, tables: dict[str, list[tuple[Any, ...]]]) -> None:
    with engine.begin() as connection:
        raw: Any = connection.connection.driver_connection
        with closing(raw.cursor()) as cursor:
            cursor.execute("SELECT usesuper FROM pg_user WHERE usename = current_user")
            if cursor.fetchone()[0]:
                cursor.execute("SET LOCAL session_replication_role = replica")
            for table, rows in tables.items():
                names = ", ".join(_COLUMNS[table])
                with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)


def set_up(engine: Engine, rows: int) -> Made:
    """Make products, stations, models and months."""
    end = datetime.now(UTC)
    begin = partitions.month_of(end - timedelta(days=30 * (_MONTHS - 1)))
    ids = {}
    with session_factory(engine).begin() as session:
        for product in _PRODUCTS:
            models.ensure_product(session, product)
            manifest = to_json({"product": product})
            ids[product] = hashlib.sha256(manifest.encode()).hexdigest()
            models.register(session, ids[product], product, manifest, "b" * 64, 100)
    with engine.begin() as connection:
        month, wanted = begin, []
        while month < end:
            wanted.append(month)
            month = partitions.after(month)
        partitions.make(connection, wanted)
    made = Made(rows, begin, end, ids)
    insert_rate(engine, made, len(_STATIONS) * 8)  # stations are made on first use
    return made


def insert_rate(engine: Engine, made: Made, number: int) -> float:
    """Give inspections with verdicts a second, through the application, in batches of 64."""
    sessions = session_factory(engine)
    batches = []
    for _ in range(0, number, _BATCH):
        at = datetime.now(UTC)
        batch = []
        for n in range(_BATCH):
            station = n % len(_STATIONS)
            sha256 = random.randbytes(32).hex()
            product = _PRODUCTS[station % len(_PRODUCTS)]
            when = at + timedelta(microseconds=n)
            serial = f"{when.timestamp() * 1e6:.0f}"  # consecutive, as those of the history
            names = (product, _STATIONS[station], f"line-{station // 5}", serial, "lot-new")
            batch.append(
                inspections.NewInspection(
                    uuid7(when), *names, when, when, sha256, key_of(sha256), 400_000, 1024, 1024, "JPEG"
                )
            )
        batches.append(batch)
    started = time.perf_counter()
    for batch in batches:
        with sessions.begin() as session:
            inspections.accept(session, batch)
        with sessions.begin() as session:
            results.record(session, [_judged(made, one) for one in batch])
    return len(batches) * _BATCH / (time.perf_counter() - started)


def _judged(made: Made, one: inspections.NewInspection) -> results.NewResult:
    model = made.models[one.product]
    times = {"read_ms": 1.5, "score_ms": 9.1, "total_ms": 16.0}
    now = datetime.now(UTC)
    score = random.lognormvariate(-0.8, 0.25)
    return results.NewResult(one.id, "ok", score, 1.0, model, "worker-1", 1, now, times, [], None, None)


def insert_ratio(large: Engine, made: Made, database: str, folder: Path) -> float:
    """Give by how much slower (below 1) a history inserts than one of SIZES[0] rows.

    Turn by turn, and the median of the turns: the machine's own speed changes within minutes.
    """
    ratios = []
    with empty_database(database, folder) as small:
        small_made = set_up(small, SIZES[0])
        load(small, small_made, 0, SIZES[0])
        tidy(small)
        for turn in range(_TURNS):
            pairs = [(large, made), (small, small_made)]
            rates = {engine: insert_rate(engine, its, 25 * _BATCH) for engine, its in pairs[:: (-1) ** turn]}
            ratios.append(rates[large] / rates[small])
    return statistics.median(ratios)


def questions(made: Made, session: Session) -> dict[str, Callable[[], Any]]:
    """What auditors ask, each with values of its own at every call."""

    def lot() -> str:
        return f"lot-{random.randrange(made.rows // LOT):07}"

    def page(wanted: Filter, after: UUID | None = None) -> int:
        return len(history.search(session, wanted, PAGE, after))

    def by_product_and_time() -> int:
        since, until = made.some_time(7)
        return page(Filter(product=random.choice(_PRODUCTS), since=since, until=until))

    def ng_in_a_month() -> int:
        since, until = made.some_time(30)
        return page(Filter(verdict="ng", since=since, until=until))

    def narrow_scores() -> int:
        low = random.uniform(1.0, 2.9)
        return page(Filter(min_score=low, max_score=low + 0.05))

    def deep_page() -> int:
        return page(Filter(product=deep_product), deep)

    def facets_of_a_week() -> int:
        since, until = made.some_time(7)
        return facets(session, Filter(since=since, until=until)).counted

    deep_product = _PRODUCTS[0]
    deep = session.scalar(
        select(Inspection.id)
        .where(Inspection.product == deep_product)
        .order_by(Inspection.id.desc())
        .offset(min(1000 * PAGE, made.rows // 20))
        .limit(1)
    )
    return {
        "newest page of a product": lambda: page(Filter(product=random.choice(_PRODUCTS))),
        "newest page by product and time": by_product_and_time,
        "by serial": lambda: page(Filter(serial=f"{random.randrange(made.rows // 2):010}")),
        "by lot": lambda: page(Filter(lot=lot())),
        "ng in a month": ng_in_a_month,
        "ng of a product": lambda: page(Filter(product=random.choice(_PRODUCTS), verdict="ng")),
        "pending": lambda: page(Filter(verdict="pending")),
        "score range, narrow": narrow_scores,
        "score range, wide": lambda: page(Filter(min_score=random.uniform(0.3, 0.5), max_score=0.6)),
        "page 1,000 of a product": deep_page,
        "defects by size": lambda: page(Filter(min_defect_area=random.uniform(500, 3000))),
        "overruled, newest first": lambda: page(Filter(reviewed="overrule")),
        "facets of all": lambda: facets(session, Filter()).counted,
        "facets of a product": lambda: facets(session, Filter(product=random.choice(_PRODUCTS))).counted,
        "facets of a week": facets_of_a_week,
        "facets of ng": lambda: facets(session, Filter(verdict="ng")).counted,
    }


def ask(engine: Engine, made: Made, repeats: int) -> dict[str, dict[str, float]]:
    """Give milliseconds (p50, p95, most) of each question; the first calls, which warm up, don't count."""
    found = {}
    with session_factory(engine, read_only=True)() as session:
        for name, question in questions(made, session).items():
            times = []
            number = repeats if not name.startswith("facets") else max(5, repeats // 10)
            for n in range(number + 3):
                session.rollback()
                started = time.perf_counter()
                answer = question()
                if n >= 3:
                    times.append(1000 * (time.perf_counter() - started))
                assert answer is not None
            found[name] = {
                "p50": statistics.median(times),
                "p95": statistics.quantiles(times, n=20)[-1],
                "most": max(times),
            }
    return found


def plans(engine: Engine, made: Made) -> dict[str, str]:
    """Give how the database answers each question, in its own words."""
    found: dict[str, str] = {}
    with session_factory(engine, read_only=True)() as session:
        asked = questions(made, session)
        explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN (ANALYZE, COSTS OFF)"
        for name, question in asked.items():
            seen: list[tuple[str, Any]] = []

            def note(_c: Any, _cursor: Any, statement: str, values: Any, *_: Any, seen: Any = seen) -> None:
                seen.append((statement, values))

            event.listen(engine, "before_cursor_execute", note)
            question()
            event.remove(engine, "before_cursor_execute", note)
            statement, values = max(seen, key=lambda one: len(one[0]))
            with one_by_one(session):
                explained = session.connection().exec_driver_sql(f"{explain} {statement}", values)
                rows: Iterable[Sequence[Any]] = explained.all()
            found[name] = "\n".join(str(row[-1]) for row in rows)
    return found


def tidy(engine: Engine) -> None:
    """Do what PostgreSQL does in the background, so that it doesn't do it while it is measured."""
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM (ANALYZE)"))
            connection.execute(text("CHECKPOINT"))


def measure(engine: Engine, made: Made, loaded: int, repeats: int) -> dict[str, Any]:
    tidy(engine)
    with engine.connect() as connection:
        rows = connection.scalar(select(func.count()).select_from(Inspection))
        reviews = connection.scalar(select(func.count()).select_from(Review))
    rates = [insert_rate(engine, made, 50 * _BATCH) for _ in range(5)]
    here = Made(loaded, made.begin, made.at(loaded / made.rows), made.models)
    return {
        "rows": rows,
        "reviews": reviews,
        "inserted_per_s": statistics.median(rates),
        "ms": ask(engine, here, repeats),
    }


def run(rows: int, database: str, repeats: int, *, with_plans: bool) -> dict[str, Any]:
    """Give the figures at each size up to `rows`; `database` is sqlite, postgresql, or a server's URL."""
    steps = []
    with (
        tempfile.TemporaryDirectory(prefix="pyramidion-bench-") as folder,
        empty_database(database, Path(folder)) as engine,
    ):
        made = set_up(engine, rows)
        loaded = 0
        shown: dict[str, str] = {}
        ratio = 1.0
        for size in [*(size for size in SIZES if size < rows), rows]:
            started = time.perf_counter()
            load(engine, made, loaded, size)
            loaded = size
            load_s = time.perf_counter() - started
            steps.append({"load_s": load_s, **measure(engine, made, loaded, repeats)})
        if rows > SIZES[0]:
            ratio = insert_ratio(engine, made, database, Path(folder) / "small")
        if with_plans:
            shown = plans(engine, made)
        kind = engine.dialect.name
    return {"database": kind, "rows": rows, "steps": steps, "insert_ratio": ratio, "plans": shown}


def table(found: dict[str, Any]) -> str:
    """Write the growth as a table in Markdown: p95 in milliseconds."""
    steps = found["steps"]
    lines = [
        f"| {found['database']}, p95 in ms | "
        + " | ".join(f"{step['rows']:,} rows" for step in steps)
        + " |",
        "|---|" + "---:|" * len(steps),
    ]
    lines += [
        f"| {name} | " + " | ".join(f"{step['ms'][name]['p95']:.1f}" for step in steps) + " |"
        for name in steps[0]["ms"]
    ]
    rates = " | ".join(f"{step['inserted_per_s']:.0f}" for step in steps)
    lines.append(f"| inspections with verdicts inserted a second | {rates} |")
    least = f"{SIZES[0]:,}"
    return "\n".join(
        [*lines, "", f"inserting, turn by turn: {found['insert_ratio']:.2f} of the rate at {least} rows"]
    )
