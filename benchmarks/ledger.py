"""How fast facts are sealed and verified on one core, and how proofs grow with a block.

    python -m benchmarks.ledger [--inspections 25000] [--database sqlite|postgresql] [--block 4096] [--json]

Makes a history of inspections with results and maps in an empty place, and removes it; all of this process
and of the embedded PostgreSQL runs on one core. Half of the facts are inspections, half results; maps are of
300 bytes, since neither sealing nor verifying reads them. `peak_mb` is the most memory of this process.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from benchmarks.databases import empty_database
from db import inspections, models, results
from db.engine import session_factory
from db.ids import uuid7
from db.imagestore import key_of
from db.ledger import merkle
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.ledger.verify import Wanted, verify

_AT_ONCE = 500
_REPEATS = 200
_BLOCKS = (16, 256, 4096, 65536)


def fill(engine: Engine, number: int) -> None:
    """Insert inspections with results as a line with a rejected part in 50 would."""
    sessions = session_factory(engine)
    manifest = '{"format":1}'
    model = hashlib.sha256(manifest.encode()).hexdigest()
    with sessions.begin() as session:
        models.ensure_product(session, "bracket")
        models.register(session, model, "bracket", manifest, "b" * 64, 100)
    at = datetime.now(UTC) - timedelta(seconds=number)
    for start in range(0, number, _AT_ONCE):
        new = [_inspection(at + timedelta(seconds=n), n) for n in range(start, min(start + _AT_ONCE, number))]
        with sessions.begin() as session:
            inspections.accept(session, new)
            results.record(session, [_result(one.id, model) for one in new])


def _inspection(at: datetime, n: int) -> inspections.NewInspection:
    sha256 = hashlib.sha256(n.to_bytes(8)).hexdigest()
    key = key_of(sha256)
    names = ("bracket", f"station {n % 4}", "line 1", f"serial {n:08}", f"lot {n // 500}")
    return inspections.NewInspection(uuid7(at), *names, at, at, sha256, key, 400_000, 1024, 1024, "JPEG")


def _result(id_: Any, model: str) -> results.NewResult:
    bad = random.random() < 0.02
    score = random.uniform(1.0, 3.0) if bad else random.uniform(0.2, 1.0)
    steps = ("read", "decode", "score", "encode", "queue", "total")
    timings = {f"{name}_ms": round(random.uniform(0.1, 50), 3) for name in steps}
    box = {"x": 10.0, "y": 20.0, "width": 33.0, "height": 12.0, "area": 250.0, "peak": score}
    data = random.randbytes(300)
    map_ = results.NewMap(8, 0.01, score, 128, 128, data, hashlib.sha256(data).hexdigest())
    return results.NewResult(
        id_, "ng" if bad else "ok", score, 1.0, model, "worker-1", 1, datetime.now(UTC), timings,
        [box] if bad else [], None, map_,
    )  # fmt: skip


def proofs(leaves: int) -> dict[str, Any]:
    """What a proof of one of so many leaves takes: bytes, and microseconds to make and to check."""
    hashes = [random.randbytes(32) for _ in range(leaves)]
    started = time.perf_counter()
    rows = merkle.levels(hashes)
    built = time.perf_counter() - started
    places = [random.randrange(leaves) for _ in range(_REPEATS)]
    started = time.perf_counter()
    paths = [merkle.path(rows, place) for place in places]
    made = time.perf_counter() - started
    started = time.perf_counter()
    right = [
        merkle.root_from(hashes[place], place, leaves, path) == rows[-1][0]
        for place, path in zip(places, paths, strict=True)
    ]
    checked = time.perf_counter() - started
    assert all(right)
    return {
        "leaves": leaves,
        "bytes": max(sum(map(len, path)) for path in paths),
        "tree_ms": round(built * 1e3, 2),
        "make_us": round(made / _REPEATS * 1e6, 1),
        "check_us": round(checked / _REPEATS * 1e6, 1),
    }


def measure(kind: str, number: int, block: int) -> dict[str, Any]:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # PostgreSQL, once started, inherits it
    # Not below a home: as root PostgreSQL runs as another user, who has to reach its data.
    folder = Path(tempfile.mkdtemp(prefix="pyramidion-ledger-"))
    folder.chmod(0o755)
    try:
        with empty_database(kind, folder) as engine:
            fill(engine, number)
            settings = LedgerSettings(ledger_key_path=folder / "ledger" / "key.pem", seal_block_facts=block)
            started = time.perf_counter()
            sealed = seal(engine, settings)
            sealing = time.perf_counter() - started
            started = time.perf_counter()
            report = verify(engine, Wanted())
            verifying = time.perf_counter() - started
    finally:
        shutil.rmtree(folder)
    assert report.ok, report.bad
    assert report.facts == sealed.facts
    return {
        "database": kind,
        "facts": sealed.facts,
        "blocks": sealed.blocks,
        "sealed_per_s": round(sealed.facts / sealing),
        "verified_per_s": round(report.facts / verifying),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "proofs": [proofs(leaves) for leaves in _BLOCKS],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inspections", type=int, default=25_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--block", type=int, default=4096)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.database, options.inspections, options.block)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    table = found.pop("proofs")
    print("".join(f"{name:<15} {value}\n" for name, value in found.items()))
    print(f"{'leaves':>8} {'proof bytes':>12} {'tree ms':>9} {'make us':>9} {'check us':>9}")
    for row in table:
        print("{leaves:>8} {bytes:>12} {tree_ms:>9} {make_us:>9} {check_us:>9}".format(**row))


if __name__ == "__main__":
    main()
