"""The command line. A command is imported when it is asked for, heavy libraries where they are used."""

import errno
import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_group

from pyramidion.errors import FAILED, INTERRUPTED, StoppedError, known_errors, sentence
from pyramidion.output import err

# What the machine refuses, wherever it was asked: a full disk, a folder of somebody else.
_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


# By name, the module of `pyramidion.commands` that has it: as a Typer `app`, or as a function of that name.
# Only the command that is asked for is imported; for `--help` it is all of them.
COMMANDS: Final = {
    "demo": "demo",
    "up": "up",
    "train": "train",
    "retrain": "retrain",
    "presets": "presets",
    "evaluate": "evaluate",
    "capture": "capture",
    "results": "results",
    "show": "show",
    "deadline": "deadline",
    "review": "review",
    "lot": "lot",
    "trend": "trend",
    "drift": "drift",
    "alarms": "alarms",
    "export": "export",
    "backup": "backup",
    "restore": "backup",
    "status": "status",
    "doctor": "doctor",
    "settings": "settings",
    "models": "models",
    "runs": "runs",
    "schedule": "schedule",
    "policy": "policy",
    "golden": "golden",
    "rescore": "rescore",
    "audit": "audit",
    "users": "users",
    "tokens": "tokens",
    "retention": "retention",
    "bench": "bench",
    "worker": "processes",
    "beat": "processes",
    "serve": "processes",
    "migrate": "processes",
}


class _Commands(TyperGroup):
    def list_commands(self, _ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: Any, name: str) -> Any:
        if name not in COMMANDS:
            return None
        module = import_module(f"pyramidion.commands.{COMMANDS[name]}")
        made = typer.Typer(add_completion=False)
        panel = "What services run" if COMMANDS[name] == "processes" else None
        if hasattr(module, "app"):
            made.add_typer(module.app, name=name)
        else:
            made.command(name, rich_help_panel=panel)(getattr(module, name))
        made.callback()(lambda: None)  # a group, whose only command keeps its name
        return get_group(made).commands[name]

    def invoke(self, ctx: Any) -> Any:
        """Run the command; `pyramidion results --csv | head` may close the pipe, which is no failure."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes at its end
            sys.exit(0)


app = typer.Typer(
    cls=_Commands,
    help="Visual inspection: cameras queue parts, workers score them with a pyramid autoencoder, "
    "every verdict is kept with its anomaly map.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    """Run a command; a user's mistake or a missing service ends with a sentence and exit code 1.

    Ctrl-C that no command heeds is Typer's: it exits with 130.
    """
    try:
        app()
    except known_errors() as error:
        err.print("[red]error:[/red] ", end="")
        err.print(sentence(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(FAILED)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        err.print(
            f"error: {error}; cure that, or set PYRAMIDION_HOME elsewhere", markup=False, soft_wrap=True
        )
        sys.exit(FAILED)
    except StoppedError:
        err.print("interrupted")
        sys.exit(INTERRUPTED)
