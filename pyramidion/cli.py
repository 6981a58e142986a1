"""The command line. Heavy libraries are imported inside the commands that need them: `--help` is instant."""

import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from pyramidion.commands import models
from pyramidion.commands.capture import capture
from pyramidion.commands.demo import demo
from pyramidion.commands.doctor import doctor
from pyramidion.commands.processes import beat, migrate, serve, worker
from pyramidion.commands.results import results
from pyramidion.commands.settings import settings
from pyramidion.commands.show import show
from pyramidion.commands.train import train
from pyramidion.commands.up import up
from pyramidion.errors import FAILED, INTERRUPTED, known_errors, sentence
from pyramidion.output import err

app = typer.Typer(
    help="Visual inspection: cameras queue parts, workers score them with a pyramid autoencoder, "
    "every verdict is kept with its anomaly map.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
commands: tuple[Callable[..., None], ...] = (demo, up, train, capture, results, show, doctor, settings)
for command in commands:
    app.command()(command)
app.add_typer(models.app, name="models")
services: tuple[Callable[..., None], ...] = (worker, beat, serve, migrate)
for command in services:
    app.command(rich_help_panel="What services run")(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("pyramidion"))
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command; a user's mistake or a missing service ends with a sentence and exit code 1."""
    try:
        app()
    except known_errors() as error:
        err.print("[red]error:[/red] ", end="")
        err.print(sentence(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # `pyramidion results --csv | head` closed the pipe: that is no failure of ours.
        sys.stderr.close()
        sys.exit(0)
