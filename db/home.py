"""Folders below PYRAMIDION_HOME: whatever makes the first of them, all are their owner's alone."""

from pathlib import Path

from db.settings import SettingsError


def private_folder(folder: Path, cure: str = "set PYRAMIDION_HOME to one you may write") -> Path:
    """Make the folder, and those above it that are missing, with mode 0700; gives it.

    What is there already keeps its mode: its owner has chosen it. Raises SettingsError, with the cure.
    """
    try:
        make_private(folder)
    except OSError as error:
        raise SettingsError(f"cannot make the folder {folder}: {error.strerror}; {cure}") from None
    return folder


def make_private(folder: Path) -> None:
    """Do the same for who has an error of its own; raises OSError.

    Path.mkdir(mode, parents=True) gives the mode to the last folder only.
    """
    for one in (*reversed(folder.parents), folder):
        if not one.is_dir():
            one.mkdir(mode=0o700, exist_ok=True)


def private_file(file: Path) -> None:
    """Make an empty file of mode 0600 unless one is there, before a library makes it; raises OSError."""
    if not file.exists():
        file.touch(mode=0o600)
