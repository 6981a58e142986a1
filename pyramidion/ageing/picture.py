"""The ageing line's curve as a picture: an SVG file that needs nothing else."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pyramidion.ageing.line import STAGES
from pyramidion.errors import UserError

_LEFT, _WIDTH, _FLOOR, _HEIGHT = 60, 820, 340, 300  # of the plot, as the template has them


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw a report of `report.as_json`; raises UserError where the file can't be written."""
    points = report["curve"]
    seconds = max((point["seconds"] for point in points), default=1.0) or 1.0

    def across(at: float) -> float:
        return round(_LEFT + _WIDTH * at / seconds, 1)

    def line(name: str) -> str:
        drawn = [(point["seconds"], point[name]) for point in points if point[name] is not None]
        return " ".join(f"{across(at)},{_FLOOR - _HEIGHT * share:.1f}" for at, share in drawn)

    environment = Environment(
        loader=PackageLoader("pyramidion"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    picture = environment.get_template("ageing.svg").render(
        stages=_stages(points, across),
        marks=_marks(report, across),
        recall=line("recall"),
        false_rejects=line("false_reject_rate"),
        seconds=round(seconds),
    )
    try:
        file.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror or error}") from None


def _stages(points: list[dict[str, Any]], across: Any) -> list[dict[str, Any]]:
    stages, left = [], across(0)
    for name in STAGES:
        ends = [point["seconds"] for point in points if point["stage"] == name]
        if ends:
            right = across(max(ends))
            stages.append({"name": name, "left": left, "width": round(right - left, 1)})
            left = right
    return stages


def _marks(report: dict[str, Any], across: Any) -> list[dict[str, Any]]:
    alarm, training = report["alarm"] or {}, report["training"] or {}
    found = [
        ("alarm opens", alarm.get("after_s")),
        ("training begins", training.get("begun_after_s")),
        (
            "gate passed" if (report["gate"] or {}).get("passed") else "training ends",
            training.get("ended_after_s"),
        ),
        ("promoted", report["promoted_after_s"]),
    ]
    return [{"name": name, "x": across(at)} for name, at in found if at is not None]
