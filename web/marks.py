"""Verdicts and scores as the page draws them: functions, since a list has a hundred of them.

A verdict's word always stands there; colour and shape come on top for what is abnormal.
"""

from typing import Final

from markupsafe import Markup

from web.wording import number

_SIGNS: Final = {
    "ng": "\N{MULTIPLICATION X}",
    "inconclusive": "?",
    "error": "!",
    "ok": "",
    "pending": "\N{HORIZONTAL ELLIPSIS}",
}
_VERDICTS: Final = {
    name: Markup('<span class="verdict {0}">{1}{0}</span>').format(
        name, Markup('<span aria-hidden="true">{}</span> ').format(sign) if sign else ""
    )
    for name, sign in _SIGNS.items()
}
_BAR: Final = (
    '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{score}, '
    'threshold {threshold}">\n<rect class="track" width="100" height="10"/><rect class="{verdict}" y="2" '
    'width="{length}" height="6"/><rect class="tick" x="49.4" width="1.2" height="10"/></svg>'
)


def verdict(name: str) -> Markup:
    """Mark a verdict, or `pending`."""
    return _VERDICTS[name]


def bar(score: float, threshold: float, verdict: str) -> Markup:
    """Draw a score as a bar; the tick in its middle is the threshold, the end is twice the threshold."""
    if verdict not in _VERDICTS:
        raise ValueError(f"{verdict!r} is no verdict")
    length = _length(score, threshold)
    drawn = _BAR.format(score=number(score), threshold=number(threshold), verdict=verdict, length=length)
    return Markup(drawn)  # noqa: S704  # numbers, and a verdict that is one


def _length(score: float, threshold: float) -> float:
    """Give the length of a score's bar in percent: the threshold stands at 50, and 100 is the end."""
    if threshold <= 0:
        return 100.0 if score > threshold else 0.0
    return round(min(max(score / threshold, 0.0), 2.0) * 50, 1)


MARKS: Final = {"verdict": verdict, "bar": bar}
