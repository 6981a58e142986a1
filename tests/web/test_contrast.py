"""The page's colours can be told apart and read, in light and in dark (WCAG 2.2, 1.4.3 and 1.4.11: AA)."""

import re
from importlib.resources import files

import pytest

CSS = files("web").joinpath("static/page.css").read_text(encoding="utf-8")
COLOURS = {
    name: {"light": light, "dark": dark}
    for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", CSS)
}


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrasts_reach_aa(scheme: str) -> None:
    pairs = {
        (text, ground): 4.5 for text in ("text", "faint", "link") for ground in ("ground", "panel", "track")
    }
    pairs |= {(sign, ground): 4.5 for sign in ("ng", "doubt", "fault") for ground in ("ground", "panel")}
    pairs |= {("on-ng", "ng"): 4.5, ("bar", "track"): 3.0, ("bar", "ground"): 3.0, ("bar", "panel"): 3.0}
    for (first, second), least in pairs.items():
        one, other = (luminance(COLOURS[name][scheme]) for name in (first, second))
        contrast = (max(one, other) + 0.05) / (min(one, other) + 0.05)
        assert contrast >= least, f"{first} on {second}: {contrast:.2f}"
