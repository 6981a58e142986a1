"""Which alarms a station's newest windows open and close, what they say, and when one asks for a training."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from celery.utils.log import get_task_logger
from sqlalchemy.orm import Session

from db import alarms, clock, drift, models, policies, runs
from db.drift import Key
from db.tables import DriftWindow
from workers.drift_statistics import ERRORS, RATES, SCORES

logger = get_task_logger(__name__)

ACTOR: Final = "drift"
OPENS_AFTER: Final = 2  # windows in turn beyond the limit
# Further apart they are no two in turn: the longer of the two.
GAP: Final = timedelta(hours=1)
GAP_WINDOWS: Final = 4
CLOSES_AFTER: Final = 3  # windows in turn at most CALM of it
CALM: Final = 0.8
_LOOKED_AT: Final = 50  # windows back; most of a slow station's hold too few images to count

_POINTS_AT: Final = {
    "brightness": "look at the lamp, then at aperture and exposure",
    "contrast": "look at lamp, lens and camera: stray light, fog, gain",
    "sharpness": "look at the lens: dirt, or focus",
    ERRORS: "look at the camera and what it sends, at the image store's files, and whether the model can be "
    "loaded; `pyramidion results --verdict error` lists them",
    "saturation": "look at the lamp's colour, then at the camera's white balance",
}


def heed(session: Session, key: Key, retrain_pause_s: float) -> bool:
    """Open and close alarms by a station's newest windows; says whether a training was asked for.

    The product is locked. Only windows of the model that judges count, only those with enough images, and to
    open an alarm only those that began after the last one was closed, and after the model was made champion.
    """
    champion = models.champion(session, key.product)
    if champion is None or champion.id != key.model_version:
        return False
    since = models.champion_since(session, key.product)
    windows = [one for one in drift.latest(session, key, _LOOKED_AT) if one.statistics]
    asked = False
    for name in sorted({name for one in windows for name in one.statistics}):
        told = [one for one in windows if name in one.statistics]
        there = alarms.is_open(session, key.product, key.station, name)
        if there is not None:
            newest = told[:CLOSES_AFTER]
            if there.kind == "drift" and len(newest) == CLOSES_AFTER and _all_calm(newest, name):
                why = f"{CLOSES_AFTER} windows in turn were at most {CALM:.0%} of the limit"
                alarms.close_unless_closed(session, there.id, ACTOR, why)
            continue
        starts = (since, alarms.last_closed_at(session, key.product, key.station, name))
        beyond = _beyond(told, name, max(one for one in starts if one is not None))
        if len(beyond) >= OPENS_AFTER and _open(session, key, name, beyond) and name != ERRORS:
            asked = _ask_for_training(session, key.product, retrain_pause_s) or asked
    return asked


def _beyond(told: Sequence[DriftWindow], name: str, begins: datetime) -> list[DriftWindow]:
    """Give the newest windows in turn that are beyond the limit, of those that start at `begins` or later."""
    found: list[DriftWindow] = []
    for one in told:
        if one.starts_at < begins or not drift.is_beyond(one.statistics[name]):
            break
        gap = max(GAP, GAP_WINDOWS * (one.ends_at - one.starts_at))
        if found and found[-1].starts_at - one.ends_at > gap:
            break
        found.append(one)
    return found


def ask_again(session: Session, product: str, retrain_pause_s: float) -> bool:
    """Ask for a training where an alarm is open whose own asking was in vain, or is long ago.

    Images that are none teach nothing: errors don't ask. The product is locked.
    """
    found = alarms.newest(session, product, only_open=True)
    if not any(one.kind == "drift" and one.statistic != ERRORS for one in found):
        return False
    return _ask_for_training(session, product, retrain_pause_s)


def close_former(session: Session, product: str) -> None:
    """Close what was told of a model that judges no more: the next one is compared with what it knows."""
    champion = models.champion(session, product)
    for alarm in alarms.newest(session, product, only_open=True):
        if alarm.kind == "drift" and (champion is None or alarm.detail.get("model") != champion.id):
            alarms.close_unless_closed(session, alarm.id, ACTOR, "another model judges")


def _all_calm(windows: Sequence[DriftWindow], name: str) -> bool:
    return all(drift.is_calm(one.statistics[name], CALM) for one in windows)


def _open(session: Session, key: Key, name: str, beyond: Sequence[DriftWindow]) -> bool:
    newest, first = beyond[0], beyond[-1]
    value, limit = newest.statistics[name]["value"], newest.statistics[name]["limit"]
    others = [one for one in newest.statistics if one != name and drift.is_beyond(newest.statistics[one])]
    said = (
        f"{name} of {key.product} at {key.station} is {value:.3g}, beyond its limit of {limit:.3g}, since "
        f"{first.starts_at:%Y-%m-%d %H:%M:%S} UTC: {points_at(name, newest)}"
    )
    detail = {
        "model": key.model_version,
        "value": value,
        "limit": limit,
        "windows": len(beyond),
        "beyond_too": others,
    }
    opened = alarms.open_(session, "drift", key.product, key.station, name, first.starts_at, said, detail)
    if opened is not None:
        logger.warning("alarm %s: %s", opened, said)
    return opened is not None


def points_at(name: str, window: DriftWindow) -> str:
    """Say where to look first: light and lens move the image statistics, a bad part only scores and rates."""
    if name in _POINTS_AT:
        return _POINTS_AT[name]
    looks = [one for one in window.statistics if one not in (*SCORES, *RATES)]
    moved = [one for one in looks if drift.is_beyond(window.statistics[one])]
    if moved:
        return f"so is {' and '.join(moved)}: {_POINTS_AT[moved[0]]}"
    if not looks:
        return "parts, process, lamp or lens changed; the model is too old to know how images usually look"
    return "parts or process changed; lamp, lens and camera show images as in training"


def _ask_for_training(session: Session, product: str, pause_s: float) -> bool:
    if not policies.of(session, product).retrain_on_drift:
        return False
    last = runs.last_requested_at(session, product, "drift")
    if last is not None and clock.now(session) - last < timedelta(seconds=pause_s):
        return False
    # Looked at first: to ask would wait for a trainer that ends its run, who waits for the product's lock.
    if runs.is_open(session, product):
        return False
    try:
        runs.request(session, product, "drift", ACTOR)
    except runs.RunThereError:
        return False
    return True
