"""Files and folders for a person that are there whole, or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Give a draft beside `file` to write; at the end it is synced and renamed to it, else removed.

    Raises OSError.
    """
    draft = draft_of(file)
    try:
        yield draft
        _sync(draft)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Do the same for a folder of files, of mode 0700; raises OSError where `folder` is there already."""
    draft = draft_of(folder)
    draft.mkdir(mode=0o700)
    try:
        yield draft
        for written in (*draft.iterdir(), draft):
            _sync(written)
        draft.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def draft_of(path: Path) -> Path:
    """Give a name beside `path` that shows whose draft it is."""
    return path.with_name(f".{path.name}.{uuid4().hex}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
