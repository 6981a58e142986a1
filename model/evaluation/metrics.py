"""How well scores separate good images from defective ones. The greater a score, the worse the image."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

RATES = (0.005, 0.01)  # of false rejects, at which recall is told

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Points (x, y), both in 0 to 1."""

    x: Values
    y: Values


def image_figures(good: Values, bad: Values) -> dict[str, Any]:
    """Figures in 0 to 1 from the scores of good and of defective images, at least one of each.

    `f1_max` is the best F1 over all thresholds. `recall_at_fpr` is the share of defective images above the
    threshold that rejects at most that share of these very good images.
    """
    labels, scores = _labelled(good, bad)
    precision, recall, _ = precision_recall_curve(labels, scores)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
    return {
        "image_auroc": auroc(good, bad),
        "average_precision": float(average_precision_score(labels, scores)),
        "f1_max": float(f1.max()),
        "recall_at_fpr": {str(rate): recall_at(good, bad, rate) for rate in RATES},
    }


def auroc(good: Values, bad: Values) -> float:
    """Area under the ROC curve."""
    return float(roc_auc_score(*_labelled(good, bad)))


def recall_at(good: Values, bad: Values, rate: float) -> float:
    """The share of `bad` above the lowest threshold that rejects at most `rate` of `good`."""
    allowed = int(rate * len(good) + 1e-9)
    return float((bad > np.sort(good)[len(good) - 1 - allowed]).mean())


def roc(good: Values, bad: Values) -> Curve:
    """False-reject rate and recall."""
    rejected, found, _ = roc_curve(*_labelled(good, bad))
    return Curve(rejected, found)


def precision_recall(good: Values, bad: Values) -> Curve:
    """Recall and precision, from the strictest threshold on."""
    precision, recall, _ = precision_recall_curve(*_labelled(good, bad))
    return Curve(recall[::-1], precision[::-1])


def _labelled(good: Values, bad: Values) -> tuple[NDArray[np.int8], Values]:
    labels = np.r_[np.zeros(len(good), np.int8), np.ones(len(bad), np.int8)]
    return labels, np.r_[good, bad]
