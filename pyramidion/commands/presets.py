"""`pyramidion presets`: what can be trained, and what each can be told."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidion.output import out, print_json

if TYPE_CHECKING:
    from model.preset import Preset

# What a training can be told at the command line, of every preset.
_COMMON = ("size", "tiles", "augment", "epochs", "false_reject_rate")


def presets(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the presets of `train` and `evaluate`, with their defaults and options."""
    from model.presets import DEFAULT, PRESETS

    rows = [{**_row(preset), "default": name == DEFAULT} for name, preset in PRESETS.items()]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        mark = " (default)" * row["default"]
        out.print(f"[bold]{row['name']}[/bold]{mark}: {row['summary']}", highlight=False, soft_wrap=True)
        defaults = [
            f"--{name.replace('_', '-')} {_word(row['defaults'][name])}"
            for name in _COMMON
            if name in row["defaults"]
        ]
        options = [f"--option {name}={_word(value)}" for name, value in row["options"].items()]
        for word in (*defaults, *options):
            out.print(f"  {word}", markup=False, highlight=False, soft_wrap=True)


def _row(preset: "Preset") -> dict[str, Any]:
    from model.config import TrainConfig

    config = TrainConfig(**preset.defaults)
    return {
        "name": preset.name,
        "summary": preset.summary,
        "defaults": {
            field.name: getattr(config, field.name)
            for field in dataclasses.fields(config)
            if field.name not in ("preset", "options", "seed")
        },
        "options": {field.name: field.default for field in dataclasses.fields(preset.options)},
    }


def _word(value: object) -> str:
    if isinstance(value, tuple):
        height, width = value
        return str(height) if height == width else f"{height}x{width}"
    return str(value).lower() if isinstance(value, bool) else str(value)
