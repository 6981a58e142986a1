"""What a person says of a preset at the command line, made into the config of a training."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyramidion.errors import UserError

if TYPE_CHECKING:
    from model.config import TrainConfig


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

    Weights are read here once, so that what is wrong with them is told before any image is read. The hash of
    a file goes into the config, and so into the model's manifest: a path alone says little a year later.
    """
    from model.presets import DEFAULT, configure
    from model.weights import read_state

    if given.get("encoder_sha256") is not None and given.get("encoder_weights") is None:
        raise UserError("--encoder-sha256 is the hash of a file: name the file with --encoder-weights")
    try:
        config = configure(preset or DEFAULT, **given)
    except ValueError as error:
        raise UserError(f"{error}; `pyramidion presets` lists presets and their options") from None
    if config.encoder_weights is None:
        return config
    read_state(config.encoder_weights, config.encoder_sha256)
    file = Path(config.encoder_weights)
    if config.encoder_sha256 is None and file.is_file():
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        return dataclasses.replace(config, encoder_sha256=found)
    return config
