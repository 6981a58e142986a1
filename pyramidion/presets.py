"""What a person says of a preset at the command line, made into the config of a training."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyramidion.errors import UserError

if TYPE_CHECKING:
    from model.config import TrainConfig


_ANY_COUNT = 8  # of images, to build a network that is thrown away


def options_of(words: Sequence[str]) -> dict[str, str] | None:
    """Read NAME=VALUE words; None where there are none. Raises UserError."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise UserError(f"--option {word!r} is not NAME=VALUE, such as width=24")
        found[name.strip()] = value.strip()
    return found or None


def configured(preset: str | None, **given: Any) -> "TrainConfig":
    """Give the preset's config with what is given and not None; raises UserError and WeightsError.

    Weights are loaded here once, so that what is wrong with them is told before any image is read. The hash
    of a file goes into the config, and so into the model's manifest: a path alone says little a year later.
    """
    from model.presets import DEFAULT, configure
    from model.presets import preset as preset_of

    if given.get("encoder_sha256") is not None and given.get("encoder_weights") is None:
        raise UserError("--encoder-sha256 is the hash of a file: name the file with --encoder-weights")
    try:
        config = configure(preset or DEFAULT, **given)
    except ValueError as error:
        raise UserError(f"{error}; `pyramidion presets` lists presets and their options") from None
    config = _hashed(config)
    preset_of(config.preset).build(config, 1, _ANY_COUNT)
    return config


def _hashed(config: "TrainConfig") -> "TrainConfig":
    """With the hashes of the files of weights that it names without one."""
    options = dict(config.options)
    found = _sha256(config.encoder_weights) if config.encoder_sha256 is None else config.encoder_sha256
    perceptual = _sha256(str(options.get("perceptual_weights") or "") or None)
    if perceptual is not None and not options.get("perceptual_sha256"):
        options["perceptual_sha256"] = perceptual
    return dataclasses.replace(config, encoder_sha256=found, options=options)


def _sha256(source: str | None) -> str | None:
    """Of a file; None for a URL, and for what can't be read: loading it says why."""
    try:
        with Path(source or "").open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None
