"""An evaluation as one HTML page that needs nothing else: no script, no other file, no network."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from scipy import ndimage

from model.evaluation.evaluate import Evaluation
from model.evaluation.masks import read_mask
from model.evaluation.metrics import Curve
from model.evaluation.pixels import PRO_LIMIT
from model.evaluation.run import Case, Run
from model.maps import encode_map
from pyramidion.errors import UserError
from pyramidion.evaluation import COLUMNS, groups, rows, speed_sentence, threshold_sentence, written
from web.inspections.overlay import SCALE, UndrawableError, draw, upright

_PLOT = 240  # pixels of a curve's square
_PICTURE = 280  # pixels of a picture's longer side
_POINTS = 400  # of a curve, at most: more than its pixels
_OUTLINE = (64, 224, 255)  # no colour of SCALE, and seen on grey parts


@dataclass(frozen=True)
class Plot:
    title: str
    across: str
    up: str
    limit: float  # where the x axis ends
    lines: tuple[tuple[str, str], ...]  # each run's name, and its points in SVG's coordinates
    dots: tuple[tuple[str, float, float], ...] = ()  # each run's name, and where its threshold stands


@dataclass(frozen=True)
class Picture:
    name: str
    kind: str
    score: float  # in thresholds
    image: str
    overlay: str


@dataclass(frozen=True)
class Sheet:
    """The mistakes of one run; `class_name` is None where there are no classes."""

    class_name: str | None
    seed: int | None
    defects: int
    escaped: int
    escapes: tuple[Picture, ...]
    good: int
    alarmed: int
    alarms: tuple[Picture, ...]


def write(done: Evaluation, file: Path) -> None:
    """Write the page; raises UserError where it can't be written."""
    environment = Environment(
        loader=PackageLoader("pyramidion"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    head, cells = rows(done.report)
    style = resources.files("web").joinpath("static/page.css").read_text(encoding="utf-8")
    page = environment.get_template("evaluation.html").render(
        style=Markup(style),  # noqa: S704  # our own file, with nothing of a user's in it
        report=done.report,
        head=head,
        cells=cells,
        row_kind=groups(done.report)[0],
        figures=[(name, place[-1]) for place, name in COLUMNS],
        sentences=[
            threshold_sentence(done.report),
            done.report["calibration"],
            speed_sentence(done.report),
        ],
        plots=_plots(done.runs),
        plot=_PLOT,
        sheets=[_sheet(name, runs[0]) for name, runs in done.runs.items()],
        scale=SCALE,
        written=written,
    )
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror or error}") from None


def _plots(runs: Mapping[str | None, Sequence[Run]]) -> list[Plot]:
    named = [(_run_name(name, run), run, run.curves) for name, its_runs in runs.items() for run in its_runs]
    thresholds = [(name, run.figures["threshold"]) for name, run, _ in named]
    dots = tuple((name, t["false_reject_rate"] * _PLOT, (1 - t["caught"]) * _PLOT) for name, t in thresholds)
    plots = [
        Plot(
            "ROC",
            "good images rejected",
            "defects found",
            1,
            tuple((name, _points(curves.roc)) for name, _, curves in named),
            dots,
        ),
        Plot(
            "Precision and recall",
            "recall: defects found",
            "precision: rejects that are defects",
            1,
            tuple((name, _points(curves.precision_recall)) for name, _, curves in named),
        ),
    ]
    pro = tuple((name, _points(curves.pro, PRO_LIMIT)) for name, _, curves in named if curves.pro is not None)
    if pro:
        plots.append(
            Plot("Per-region overlap", "normal pixels marked", "of each region, found", PRO_LIMIT, pro)
        )
    return plots


def _run_name(class_name: str | None, run: Run) -> str:
    of_class = [] if class_name is None else [f"class {class_name}"]
    return ", ".join(of_class + ([] if run.seed is None else [f"seed {run.seed}"])) or "bundle"


def _points(curve: Curve, limit: float = 1.0) -> str:
    """SVG points of the curve up to `limit`, few enough for a page: those nearest to even steps along it."""
    last = int(np.searchsorted(curve.x, limit, "right"))
    x, y = curve.x[: last + 1], curve.y[: last + 1]
    if len(x) > _POINTS:
        length = np.r_[0.0, np.cumsum(np.abs(np.diff(x)) / limit + np.abs(np.diff(y)))]
        chosen = np.unique(np.searchsorted(length, np.linspace(0, length[-1], _POINTS)))
        x, y = x[chosen], y[chosen]
    return " ".join(f"{_PLOT * a / limit:.1f},{_PLOT * (1 - b):.1f}" for a, b in zip(x, y, strict=True))


def _sheet(class_name: str | None, run: Run) -> Sheet:
    threshold = run.calibration.threshold
    facts = run.figures["threshold"]
    return Sheet(
        class_name=class_name,
        seed=run.seed,
        defects=run.figures["defect_images"],
        escaped=round((1 - facts["caught"]) * run.figures["defect_images"]),
        escapes=tuple(_picture(case, threshold) for case in run.escapes),
        good=run.figures["good_images"],
        alarmed=round(facts["false_reject_rate"] * run.figures["good_images"]),
        alarms=tuple(_picture(case, threshold) for case in run.alarms),
    )


def _picture(case: Case, threshold: float) -> Picture:
    data = case.item.read()
    encoded = encode_map(case.map)
    try:
        plain = upright(data, _PICTURE)
        drawn = draw(data, encoded.data, encoded.low, encoded.high, threshold, (), longest=_PICTURE)
    except UndrawableError as error:
        raise UserError(f"{case.item.name} cannot be drawn: {error}") from None
    _outline(drawn, case)
    score = case.score / threshold if threshold > 0 else float("inf")
    return Picture(case.item.name, case.item.kind, score, _uri(plain), _uri(drawn))


def _outline(picture: Image.Image, case: Case) -> None:
    """Draw the border of where the defect really is, if that is known."""
    if case.item.mask is None:
        return
    mask = read_mask(case.item.mask, case.item.width, case.item.height)
    share = np.asarray(
        Image.fromarray(mask.astype(np.float32)).resize(picture.size, Image.Resampling.BILINEAR)
    )
    inside = share > 0.25  # more than nothing: small defects stay
    border = ndimage.binary_dilation(inside, iterations=2) & ~ndimage.binary_dilation(inside)
    picture.paste(_OUTLINE, mask=Image.fromarray(border))


def _uri(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
