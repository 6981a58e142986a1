"""Detection quality of presets on labelled folders, side by side: every figure on accuracy in the docs.

    python -m benchmarks.accuracy DIR... | --simulated [--preset NAME[:KEY=VALUE,...]]... [--seeds 3] [--json]

DIR is in MVTec's layout (train/good, test/good, test/<kind>, ground_truth/<kind>) or holds the four IDX files
of MNIST or Fashion-MNIST. What `pyramidion evaluate` measures for one preset, this measures for each preset
on each folder, and prints a table in Markdown. KEY is a field of TrainConfig, or an option of the preset:

    python -m benchmarks.accuracy tiles --preset pyramid --preset features:encoder_weights=r18.safetensors

--without leaves a kind of defect out of the figures over all. --simulated makes a folder from the project's
own line: 160 good parts to train on, 200 to test, and 25 of each defect.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from capture.simulator import DEFECTS, GOOD, SimulatedLine
from model.bundle import BundleError, load
from model.config import TrainConfig
from model.dataset import TooFewImagesError
from model.evaluation.evaluate import Evaluation, Sets, evaluate, evaluate_bundle, open_sets
from model.evaluation.sets import SetError
from model.weights import WeightsError
from pyramidion.commands.evaluate import configured_for
from pyramidion.errors import UserError
from pyramidion.evaluation import COLUMNS, rows

_NUMBERS = (
    "learning_rate",
    "weight_decay",
    "time_budget_s",
    "false_reject_rate",
    "augment_shift",
    "augment_light",
)
_FIELDS = {field.name for field in fields(TrainConfig)} - {"preset", "seed", "options", "channels"}


def simulate(folder: Path) -> None:
    good = SimulatedLine(seed=0)
    wanted = [("train/good", good, index, GOOD) for index in range(160)]
    tested = SimulatedLine(seed=1)
    wanted += [("test/good", tested, index, GOOD) for index in range(200)]
    for kind, defect in enumerate(DEFECTS):
        wanted += [(f"test/{defect}", tested, 1000 + 25 * kind + index, defect) for index in range(25)]
    for place, line, index, defect in wanted:
        file = folder / place / f"{index:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        part = line.part(index, defect)
        file.write_bytes(line.encode(part))
        if part.mask is not None:
            mask = folder / "ground_truth" / defect / f"{file.stem}_mask.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part.mask.astype(np.uint8) * 255).save(mask)


def configuration(spec: str, sets: Sets, defaults: dict[str, Any]) -> TrainConfig:
    """Read NAME[:KEY=VALUE,...]; raises UserError."""
    name, _, rest = spec.partition(":")
    given: dict[str, Any] = dict(defaults)
    options: dict[str, str] = {}
    for word in filter(None, rest.split(",")):
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"{word!r} in --preset {spec} is not KEY=VALUE")
        if key not in _FIELDS:
            options[key] = value
        else:
            given[key] = _field(key, value)
    return configured_for(sets, name, options=options or None, **given)


def _field(key: str, value: str) -> Any:
    """A field of TrainConfig from its text; raises UserError."""
    try:
        if key in ("size", "epochs", "batch", "patience", "max_pixels", "tiles"):
            return (int(value), int(value)) if key == "size" else int(value)
        if key in _NUMBERS:
            return float(value)
    except ValueError:
        raise UserError(f"{key}={value} in --preset is no number") from None
    return value


def show(what: str, done: int, total: int) -> None:
    end = "\n" if done == total and what.startswith("scoring") else ""
    print(f"\r\033[K{what} {done}/{total}", end=end, file=sys.stderr, flush=True)


def without(sets: Sets, kinds: Sequence[str]) -> Sets:
    """The sets less some kinds of defects; raises SetError for one that there is not."""
    for one in sets.values():
        unknown = set(kinds) - set(one.kinds)
        if unknown:
            raise SetError(f"{one.name} has no {', '.join(sorted(unknown))}; it has {', '.join(one.kinds)}")
    return {
        name: replace(one, test=tuple(item for item in one.test if item.kind not in kinds))
        for name, one in sets.items()
    }


def table(done: Sequence[tuple[str, Evaluation]], *, parts: bool) -> str:
    """Markdown: a row for each preset on each folder and, with `parts`, for each kind or class."""
    names = [name for _, name in COLUMNS]
    head = ["set", "preset", "seeds", *names, "caught", "false rejects", "training s", "images/s"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for spec, one in done:
        report = one.report
        (_, _, *figures, share), *others = rows(report)[1]
        cells = [
            report["set"],
            spec,
            str(len(report["seeds"])),
            *figures,
            share,
            f"{report['threshold']['false_reject_rate']:.2%}",
            "" if report["training_s"] is None else f"{report['training_s']:.0f}",
            f"{report['images_per_s']:.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
        for name, _, *its in others if parts else ():
            lines.append(f"| {report['set']}, {name} | {spec} | | {' | '.join(its)} | | | |")
    return "\n".join(lines)


def measure(options: argparse.Namespace, folders: Sequence[Path]) -> list[tuple[str, Evaluation]]:
    done: list[tuple[str, Evaluation]] = []
    defaults: dict[str, Any] = {"epochs": options.epochs}
    if options.size:
        defaults["size"] = (options.size, options.size)
    classes = options.classes.split(",") if options.classes else None
    for folder in folders:
        sets = without(open_sets(folder, classes, training=options.bundle is None), options.without)
        if options.bundle is not None:
            judge = load(options.bundle)
            one = evaluate_bundle(sets, judge, device=options.device, told=show)
            done.append((judge.version[:12], one))
            continue
        for spec in options.preset:
            started = time.perf_counter()
            config = configuration(spec, sets, defaults)
            one = evaluate(
                sets, config, options.seed, device=options.device, told=show, checkpoints=options.checkpoints
            )
            one.report["seconds"] = time.perf_counter() - started
            done.append((spec, one))
    return done


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="*")
    parser.add_argument("--simulated", action="store_true", help="measure on simulated parts (too)")
    parser.add_argument("--preset", action="append", help="NAME[:KEY=VALUE,...]; repeat it to compare")
    parser.add_argument("--bundle", type=Path, help="a bundle's folder; without it models are trained")
    parser.add_argument("--size", type=int, help="side that images are squashed to")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, action="append", help="one training each; repeat it")
    parser.add_argument("--seeds", type=int, help="trainings with the seeds 0, 1, ...")
    parser.add_argument("--classes", help="of IDX files: those that are good in turn, such as 0,3")
    parser.add_argument("--without", action="append", default=[], metavar="KIND", help="a kind to leave out")
    parser.add_argument("--parts", action="store_true", help="also a row for each kind or class")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--checkpoints", type=Path, help="folder in which trainings go on that were cut short"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.simulated and not options.folder:
        parser.error("give folders, or --simulated")
    options.preset = options.preset or ["pyramid"]
    options.seed = options.seed or list(range(options.seeds or 1))
    with tempfile.TemporaryDirectory() as made:
        folders = list(options.folder)
        if options.simulated:
            folders.append(Path(made) / "simulated")
            simulate(folders[-1])
        try:
            done = measure(options, folders)
        except (SetError, WeightsError, UserError, BundleError, TooFewImagesError) as error:
            parser.exit(1, f"error: {error}\n")
    if options.json:
        print(json.dumps([{"asked": spec, **one.report} for spec, one in done], indent=2))
        return
    print(table(done, parts=options.parts))
    for spec, one in done:
        for note in one.report["notes"]:
            print(f"{one.report['set']}, {spec}: {note}", file=sys.stderr)
        for what in ("left_out", "overlap"):
            if one.report[what]:
                print(f"warning: {one.report['set']}: {what} {one.report[what]}", file=sys.stderr)


if __name__ == "__main__":
    main()
