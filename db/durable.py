"""Writing a file so that it is there, and whole, after a power cut."""

import os
from pathlib import Path
from uuid import uuid4


def write_durably(root: Path, key: str, data: bytes) -> None:
    """Write root/key atomically: file synced, renamed into place, and the folders on the way synced.

    Readers see nothing or all of it. Raises OSError.
    """
    target = root / key
    # Not beside its target: a leftover of a killed process is easy to see.
    waiting = root / "tmp" / uuid4().hex
    try:
        _write_synced(waiting, data)
    except FileNotFoundError:
        _make_folder(waiting.parent)
        _write_synced(waiting, data)
    try:
        try:
            waiting.replace(target)
        except FileNotFoundError:
            _make_folder(target.parent)
            waiting.replace(target)
    except BaseException:
        waiting.unlink(missing_ok=True)
        raise
    _sync(target.parent)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb", buffering=0) as file:
        try:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


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
