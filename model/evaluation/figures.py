"""Every figure of one model on one set, from its scores and maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.calibration import Calibration
from model.evaluation.masks import Mask, fit_mask, read_mask
from model.evaluation.metrics import Curve, Values, image_figures, precision_recall, roc
from model.evaluation.pixels import Map, PixelFigures, PixelGroup, gather, pixel_figures
from model.evaluation.sets import GOOD, LabelledSet


@dataclass(frozen=True)
class Curves:
    """`pro` is None where no defect's pixels are known."""

    roc: Curve
    precision_recall: Curve
    pro: Curve | None


def image_and_pixel_figures(
    labelled: LabelledSet, values: Values, maps: Sequence[Map], calibration: Calibration
) -> tuple[dict[str, Any], Curves]:
    """Figures as plain values, and curves, of the test images' scores; without `maps` none of pixels."""
    pixels = _pixels(labelled, maps) if maps else {}
    good, bad = _of(labelled, values, GOOD), values[[item.kind != GOOD for item in labelled.test]]
    overall = pixel_figures(list(pixels.values())) if pixels else None
    figures = {
        "good_images": len(good),
        "defect_images": len(bad),
        **image_figures(good, bad),
        **_pixel_entries(overall),
        "defects": {kind: _of_kind(labelled, values, kind, calibration, pixels) for kind in labelled.kinds},
        "threshold": {
            "value": calibration.threshold,
            "method": calibration.method,
            "target_rate": calibration.target_rate,
            "promised_rate": calibration.guaranteed_rate,
            "false_reject_rate": float((good > calibration.threshold).mean()),
            "caught": float((bad > calibration.threshold).mean()),
        },
    }
    curves = Curves(roc(good, bad), precision_recall(good, bad), None if overall is None else overall.pro)
    return figures, curves


def _of(labelled: LabelledSet, values: Values, kind: str) -> Values:
    return values[[item.kind == kind for item in labelled.test]]


def _pixels(labelled: LabelledSet, maps: Sequence[Map]) -> dict[str, PixelGroup]:
    """The pixels of good images, and of those of each kind that have masks."""
    groups: dict[str, tuple[list[Map], list[Mask | None]]] = {}
    for item, map_ in zip(labelled.test, maps, strict=True):
        if item.kind != GOOD and item.mask is None:
            continue  # where its defect is isn't known, so none of its pixels is known to be normal
        chosen, masks = groups.setdefault(item.kind, ([], []))
        chosen.append(map_)
        mask = None if item.mask is None else read_mask(item.mask, item.width, item.height)
        masks.append(None if mask is None else fit_mask(mask, map_.shape))
    return {kind: gather(*group) for kind, group in groups.items()}


def _pixel_entries(found: PixelFigures | None) -> dict[str, float | None]:
    if found is None:
        return {"pixel_auroc": None, "aupro": None}
    return {"pixel_auroc": found.pixel_auroc, "aupro": found.aupro}


def _of_kind(
    labelled: LabelledSet,
    values: Values,
    kind: str,
    calibration: Calibration,
    pixels: dict[str, PixelGroup],
) -> dict[str, Any]:
    """The figures of one defect kind against all good images."""
    good, bad = _of(labelled, values, GOOD), _of(labelled, values, kind)
    found = pixel_figures([pixels[GOOD], pixels[kind]]) if kind in pixels else None
    return {
        "images": len(bad),
        "masks": sum(item.kind == kind and item.mask is not None for item in labelled.test),
        **image_figures(good, bad),
        "caught": float((bad > calibration.threshold).mean()),
        **_pixel_entries(found),
    }
