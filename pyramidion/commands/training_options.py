"""What `train` and `evaluate` can both be told about a training."""

from typing import Annotated

import typer

EncoderSha256 = Annotated[str | None, typer.Option(help="What that file's SHA-256 must be.")]
PresetOptions = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the preset; repeat it.")
]
Tiles = Annotated[
    int | None, typer.Option(min=1, help="Cut large images into as many tiles a side, each of that size.")
]
Augment = Annotated[
    str | None,
    typer.Option(help="auto (what good images show to be harmless), none, or such as mirror,flip."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]


def flags(**given: bool) -> list[str]:
    """Name the options that were given, as a person typed them."""
    return [f"--{name.replace('_', '-')}" for name, is_given in given.items() if is_given]
