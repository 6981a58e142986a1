"""What `pyramidion demo --retrain` shows: a lamp fades, and the line gets a model that knows it."""

import os
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, Final

from rich.table import Table

from db.settings import DatabaseSettings
from pyramidion import services
from pyramidion.context import Context
from pyramidion.output import err, out, print_json
from pyramidion.supervisor import Supervisor

GOOD_PARTS: Final = 160
RATE: Final = 10.0
# A shift in minutes: what a plant looks at each quarter of an hour, the demo looks at every few seconds.
_HURRY: Final = {
    "PYRAMIDION_DRIFT_EVERY_S": "2",
    "PYRAMIDION_DRIFT_WINDOW_S": "8",
    "PYRAMIDION_DRIFT_WAIT_S": "4",
    "PYRAMIDION_DRIFT_IMAGES": "30",
    "PYRAMIDION_DATASET_IMAGES": "300",
    # Of a light that never comes back. A fifth would be a dozen of those held out, and what they happen to
    # score would decide in the gate, at each try alike.
    "PYRAMIDION_DATASET_OLDEST": "0.1",
    "PYRAMIDION_TRAINING_NICE": "0",  # the line leaves the processor time enough
}
_ANSWERS: Final = {True: "yes", False: "no", None: "not known"}
_FALSE_REJECT_RATE: Final = 0.02  # what so few parts can promise
_MODEL_SIZE: Final = 96  # pixels a side, which the new model has as well: trained in a minute or two


def hurry() -> None:
    """Let the services that are started next look for drift every few seconds, save for what is set."""
    for name, value in _HURRY.items():
        os.environ.setdefault(name, value)


def show(
    context: Context,
    supervisor: Supervisor,
    stop: Event,
    *,
    parts: int,
    rate: float | None,
    seed: int,
    as_json: bool,
) -> bool:
    """Train, let the lamp fade, report; says whether all were judged, and by a model that is as good."""
    from model.config import TrainConfig
    from pyramidion.ageing import picture, report, story
    from pyramidion.ageing.line import PRODUCT, Plan
    from pyramidion.simulation import good_parts
    from pyramidion.training import train_images

    plan = Plan(parts, RATE if rate is None else rate)
    _say(f"line     simulating {GOOD_PARTS} good parts to learn from")
    good = good_parts(GOOD_PARTS, seed, plan.size)
    note = f"{GOOD_PARTS} simulated parts, seed {seed}"
    config = TrainConfig(size=(_MODEL_SIZE, _MODEL_SIZE), false_reject_rate=_FALSE_REJECT_RATE)
    model = train_images(PRODUCT, good, config, note=note, stop=stop.is_set)
    _say(f"model    {model['version'][:12]}, threshold {model['threshold']:.3f}, {model['seconds']} s")
    story.set_up(context, plan)
    services.await_worker(supervisor, stop)
    lot = f"demo-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    line, told = story.play(context, plan, seed + 1, lot, stop, _say)
    rows = story.verdicts(context, lot)
    said = report.as_json(rows, line, told, config.false_reject_rate, stretch=max(10, parts // 5))
    file = DatabaseSettings().home / f"{lot}.svg"
    picture.draw(said, file)
    said["picture"] = str(file)
    if as_json:
        print_json(said)
    else:
        _print(said, file)
    return said["pending"] == 0 and said["promoted_after_s"] is not None and all(said["met"].values())


def _say(line: str) -> None:
    err.print(line, markup=False, highlight=False, soft_wrap=True)


def _print(said: dict[str, Any], file: Path) -> None:
    table = Table("stage", "good parts", "rejected", "defects", "caught", box=None, padding=(0, 2))
    for name, stage in said["stages"].items():
        table.add_row(
            name,
            str(stage["good"]),
            _share(stage["false_rejects"], stage["false_reject_rate"]),
            str(stage["defects"]),
            _share(stage["caught"], stage["recall"]),
        )
    out.print(table)
    if said["alarm"]:
        _tell(f"alarm after {said['alarm']['after_s']} s: {said['alarm']['said']}")
    for refused in said["refused"][:-1] if said["why_not"] else said["refused"]:  # the last is told below
        _tell(f"the gate refused the model of run {refused['run']}: {refused['said']}")
    if said["training"]:
        training = said["training"]
        _tell(
            f"training ({training['why']}) {training['begun_after_s']} to {training['ended_after_s']} s: "
            f"{training['state']}; {training['judged_meanwhile']} parts were judged meanwhile"
        )
        for sentence in said["gate"]["said"] or []:
            _tell(f"gate: {sentence}")
    if said["awaited"]:
        _tell("a person was asked: " + "; ".join(said["awaited"]))
    if said["promoted_after_s"] is not None:
        _tell(f"promoted after {said['promoted_after_s']} s by {said['promoted_by']}")
    for name, what in (("false_rejects", "false rejects fell to target"), ("recall", "recall stayed")):
        _tell(f"{what}: {_ANSWERS[said['met'][name]]}")
    if said["why_not"]:
        _tell(f"nothing was promoted: {said['why_not']}")
    _tell(f"the curve: {file}")


def _tell(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def _share(hits: int, rate: float | None) -> str:
    return str(hits) if rate is None else f"{hits} ({rate:.1%})"
