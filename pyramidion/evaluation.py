"""An evaluation on the screen: its figures with their spread, and a table of kinds or classes."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from pyramidion.output import err, out

NOTHING = "\N{EN DASH}"
# The figures that are told of every kind and class: their place in a report, and their name.
COLUMNS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("image_auroc",), "image AUROC"),
    (("average_precision",), "average precision"),
    (("f1_max",), "F1 max"),
    (("recall_at_fpr", "0.005"), "recall at 0.5 %"),
    (("recall_at_fpr", "0.01"), "recall at 1 %"),
    (("pixel_auroc",), "pixel AUROC"),
    (("aupro",), "AUPRO to 0.3"),
)


def figure(report: Mapping[str, Any], place: tuple[str, ...]) -> float | None:
    value: Any = report
    for key in place:
        value = value[key]
    return None if value is None else float(value)


def written(value: float | None, spread: float | None = None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.3f}" + (f" ± {spread:.3f}" if spread is not None else "")


def caught(value: float) -> str:
    return f"{100 * value:.1f} %"


def threshold_sentence(report: Mapping[str, Any]) -> str:
    """What the calibrated threshold promised, and what it did."""
    facts = report["threshold"]
    return (
        f"threshold {facts['value']:.4g} ({facts['method']}, promises at most {facts['promised_rate']:.2%}): "
        f"rejects {facts['false_reject_rate']:.2%} of good images, catches {facts['caught']:.1%} of defects"
    )


def speed_sentence(report: Mapping[str, Any]) -> str:
    trained = (
        ""
        if report["training_s"] is None
        else f"trained on {report['training_images']:g} images in {report['training_s']:.0f} s; "
    )
    return f"{trained}scores {report['images_per_s']:.0f} images/s, decoding included, on {report['device']}"


def groups(report: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What the rows of the table are, and the rows: classes where there are any, else kinds of defects."""
    if "classes" in report:
        return "class", report["classes"]
    return "defect", report["defects"]


def rows(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The table's head and cells, that of all first."""
    kind, parts = groups(report)
    head = [kind, "images", *(name for _, name in COLUMNS), "caught"]
    spread = report["spread"]
    cells = [
        [
            "all",
            f"{report['defect_images']:g}",
            *(written(figure(report, place), spread.get(place[0])) for place, _ in COLUMNS),
            caught(report["threshold"]["caught"]),
        ]
    ]
    for name, part in parts.items():
        its = part.get("spread", {})
        share = part["caught"] if "caught" in part else part["threshold"]["caught"]
        cells.append(
            [
                name,
                f"{part['images'] if 'images' in part else part['defect_images']:g}",
                *(written(figure(part, place), its.get(place[0])) for place, _ in COLUMNS),
                caught(share),
            ]
        )
    return head, cells


def _table(report: Mapping[str, Any]) -> Table:
    """The rows, narrow enough for 80 columns: short names, and the spread below the mean."""
    head, cells = rows(report)
    short = {"average precision": "average prec.", "AUPRO to 0.3": "AUPRO 0.3"}
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for place, name in enumerate(head):
        title = short.get(name, name).replace(" %", "\N{NO-BREAK SPACE}%").replace(" ", "\n", 1)
        table.add_column(title, justify="left" if place == 0 else "right", no_wrap=place > 0)
    for row in cells:
        table.add_row(*(cell.replace(" ±", "\n±") for cell in row))
    return table


def show(report: Mapping[str, Any]) -> None:
    """Print the table to standard output, and what weakens it to standard error."""
    size = " x ".join(map(str, report["size"]))
    out.print(
        f"{report['set']}: preset {report['preset']}, {size}, {report['good_images']:g} good test images",
        markup=False,
        highlight=False,
    )
    out.print(_table(report))
    if len(report["seeds"]) > 1:
        each = ", ".join(f"{one['seed']}: {one['image_auroc']:.3f}" for one in report["seeds"])
        out.print(f"image AUROC by seed: {each}; ± is their standard deviation", highlight=False)
    for line in (threshold_sentence(report), report["calibration"], speed_sentence(report)):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    for note in report["notes"]:
        err.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
