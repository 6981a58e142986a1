"""The detectors that can be trained, by name."""

from typing import Any

from model.config import TrainConfig
from model.detector import Detector
from model.features.preset import PRESET as FEATURES
from model.paper.preset import PRESET as PAPER
from model.preset import Preset
from model.pyramid.preset import PRESET as PYRAMID
from model.tiling import Tiled

PRESETS: dict[str, Preset] = {preset.name: preset for preset in (PYRAMID, FEATURES, PAPER)}
DEFAULT = PYRAMID.name


def preset(name: str) -> Preset:
    """Give the preset; raises ValueError with those that there are."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


def configure(name: str = DEFAULT, **given: Any) -> TrainConfig:
    """Give the preset's defaults with what is given and not None in their place; raises ValueError."""
    chosen = preset(name)
    wanted = {key: value for key, value in given.items() if value is not None}
    config = TrainConfig(**{**chosen.defaults, **wanted, "preset": name})
    chosen.check(config)
    return config


def restore(network: dict[str, Any]) -> Detector:
    """Build the untrained detector that a bundle's manifest describes.

    Raises ValueError, KeyError or TypeError for a description that no preset of this release wrote.
    """
    chosen = preset(network["preset"])
    if "inner" in network:
        return Tiled(chosen.restore(_plain(network["inner"])), int(network["tiles"]))
    return chosen.restore(_plain(network))


def _plain(network: dict[str, Any]) -> dict[str, Any]:
    """Give it as the config's dataclass wants it: without the preset's name, tuples for JSON's lists."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in network.items() if key != "preset"}
