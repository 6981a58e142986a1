"""How the verdicts in the database separate good from bad, for a captured folder in MVTec layout.

    python -m benchmarks.verdicts DIR --product P [--json]

DIR is what was captured: DIR/good and DIR/<defect>. Images and verdicts meet by the image's SHA-256, so
this measures what the plant would see: stored images, stored scores, stored maps.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from capture.folder import image_files
from db.tables import AnomalyMap, Inspection, Result
from model.evaluation.metrics import auroc
from pyramidion.context import open_context


def stored(session: Session, product: str) -> dict[str, list[tuple[str, float | None, bool]]]:
    """Give verdict, score and whether there is a map, of each image hash of the product."""
    found: dict[str, list[tuple[str, float | None, bool]]] = {}
    query = (
        select(Inspection.image_sha256, Result.verdict, Result.score, AnomalyMap.inspection_id)
        .join(Result, Result.inspection_id == Inspection.id)
        .outerjoin(AnomalyMap, AnomalyMap.inspection_id == Result.inspection_id)
        .where(Inspection.product == product)
    )
    for sha256, verdict, score, map_of in session.execute(query):
        found.setdefault(sha256, []).append((verdict, score, map_of is not None))
    return found


def measure(folder: Path, product: str) -> dict[str, Any]:
    with open_context().reading() as session:
        results = stored(session, product)
        accepted = session.scalar(
            select(func.count()).select_from(Inspection).where(Inspection.product == product)
        )
    scores: dict[str, list[float]] = {}
    rejected: dict[str, int] = {}
    missing = 0
    without_map = 0
    for kind in sorted(p for p in folder.iterdir() if p.is_dir()):
        for file in image_files(kind):
            verdicts = results.get(hashlib.sha256(file.read_bytes()).hexdigest())
            if verdicts is None or verdicts[0][1] is None:
                missing += 1
                continue
            verdict, score, has_map = verdicts[0]
            without_map += not has_map
            scores.setdefault(kind.name, []).append(float(score or 0))
            rejected[kind.name] = rejected.get(kind.name, 0) + (verdict == "ng")
    good = np.array(scores.pop("good"))
    bad = np.concatenate([np.array(one) for one in scores.values()])

    return {
        "product": product,
        "accepted": accepted,
        "judged": sum(map(len, results.values())),
        "files_without_verdict": missing,
        "verdicts_without_map": without_map,
        "image_auroc": auroc(good, bad),
        "false_rejects": f"{rejected['good']} of {len(good)}",
        "caught": f"{sum(rejected.values()) - rejected['good']} of {len(bad)}",
        "defects": {
            kind: {"images": len(one), "caught": rejected[kind], "image_auroc": auroc(good, np.array(one))}
            for kind, one in scores.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--product", required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not (options.folder / "good").is_dir():
        parser.error(f"{options.folder} has no folder good: give the folder that was captured")
    report = measure(options.folder, options.product)
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for name, value in report.items():
        if name != "defects":
            print(f"{name:<22} {value:.3f}" if isinstance(value, float) else f"{name:<22} {value}")
    for kind, row in report["defects"].items():
        caught = f"{row['caught']} of {row['images']} caught"
        print(f"  {kind:<14} AUROC {row['image_auroc']:.3f}, {caught}")


if __name__ == "__main__":
    main()
