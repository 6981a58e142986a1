"""Writing a file so that it is there, and whole, after a power cut."""

import os
from pathlib import Path
from uuid import uuid4


def write_durably(root: Path, key: str, data: bytes) -> None:
    """Write root/key atomically: file synced, renamed into place, and the folders on the way synced.

    Readers see nothing or all of it. Raises OSError.
    """
    target = root / key
    waiting = (
        root / "tmp" / uuid4().hex
    )  # not beside its target: a leftover of a killed process is easy to see
    _make_folder(waiting.parent)
    _make_folder(target.parent)
    try:
        with waiting.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        waiting.replace(target)
    except BaseException:
        waiting.unlink(missing_ok=True)
        raise
    _sync(target.parent)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
