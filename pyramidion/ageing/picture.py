"""The ageing line's curve as a picture: an SVG file that needs nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from pyramidion.ageing.line import AFTER, FADING, NEW, OLD
from pyramidion.errors import UserError

_LEFT, _WIDTH, _FLOOR, _HEIGHT = 60, 820, 340, 300  # of the plot, as the template has them
# Of the width: the old lamp lasts as long as a training, and would leave nothing of the others to be seen.
_SHARES: Final = {NEW: 0.2, FADING: 0.2, OLD: 0.35, AFTER: 0.25}
_NEAR_THE_END: Final = 0.8  # of the width: there, names stand left of their line


@dataclass(frozen=True)
class _Stage:
    name: str
    begin: float  # seconds
    end: float
    left: float
    width: float

    def place(self, at: float) -> float:
        lasts = max(self.end - self.begin, 1e-9)
        return round(self.left + self.width * min(1.0, max(0.0, (at - self.begin) / lasts)), 1)


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw a report of `report.as_json`; raises UserError where the file can't be written."""
    points = report["curve"]
    stages = _stages(points)

    def across(at: float) -> float:
        stage = next((one for one in stages if at <= one.end), stages[-1])
        return stage.place(at)

    def line(name: str) -> str:
        drawn = [(point["seconds"], point[name]) for point in points if point[name] is not None]
        return " ".join(f"{across(at)},{_FLOOR - _HEIGHT * share:.1f}" for at, share in drawn)

    environment = Environment(
        loader=PackageLoader("pyramidion"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    picture = environment.get_template("ageing.svg").render(
        stages=stages,
        marks=_marks(report, across) if stages else [],
        recall=line("recall"),
        false_rejects=line("false_reject_rate"),
    )
    try:
        file.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror or error}") from None


def _stages(points: list[dict[str, Any]]) -> list[_Stage]:
    stages: list[_Stage] = []
    left, begin = float(_LEFT), 0.0
    for name, share in _SHARES.items():
        ends = [point["seconds"] for point in points if point["stage"] == name]
        if ends:
            width = round(_WIDTH * share, 1)
            stages.append(_Stage(name, begin, max(ends), left, width))
            left, begin = left + width, max(ends)
    return stages


def _marks(report: dict[str, Any], across: Callable[[float], float]) -> list[dict[str, Any]]:
    alarm, training = report["alarm"] or {}, report["training"] or {}
    passed = (report["gate"] or {}).get("passed")
    found = [
        ("alarm opens", alarm.get("after_s")),
        ("training begins", training.get("begun_after_s")),
        ("gate passed" if passed else "training ends", training.get("ended_after_s")),
        ("promoted", report["promoted_after_s"]),
    ]
    marks = [(name, at, across(at)) for name, at in found if at is not None]
    return [
        {"name": f"{name}, {at:.0f} s", "x": x, "left": x > _LEFT + _NEAR_THE_END * _WIDTH}
        for name, at, x in marks
    ]
