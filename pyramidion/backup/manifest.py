"""What a backup says of itself: the last of its files to be written, so that what has one is whole."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from db.holdings import Holdings
from pyramidion.errors import UserError

FORM: Final = "pyramidion-backup/1"
NAME: Final = "backup.json"
HEADS: Final = "heads.jsonl"
KEY: Final = "key.pem"
IMAGES: Final = "images"  # beside the backups: they share it
TIME: Final = "%Y%m%dT%H%M%S.%fZ"  # the folder's name: sorts as the time does
_NAMED: Final = 20  # blobs that were lost


@dataclass
class Blobs:
    """What became of the blobs that rows name; `named` are the first that were lost, and why."""

    copied: int = 0
    there: int = 0
    lost: int = 0
    named: dict[str, str] = field(default_factory=dict)

    def lose(self, sha256: str, why: str) -> None:
        self.lost += 1
        if len(self.named) < _NAMED:
            self.named[sha256] = why


@dataclass(frozen=True)
class Manifest:
    """`files` has bytes and sha256 of each; `blobs` is None where no images were taken."""

    made_at: str
    database: str  # sqlite or postgresql
    revision: str
    holdings: Holdings
    files: dict[str, dict[str, Any]]
    blobs: Blobs | None
    form: str = FORM
    made_by: str = field(default_factory=lambda: f"pyramidion {version('pyramidion')}")

    def write(self, folder: Path) -> None:
        (folder / NAME).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> Manifest:
    """Read the manifest of a backup; raises UserError."""
    file = folder / NAME
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values["form"] != FORM:
            raise UserError(
                f"{file} has the form {values['form']!r}: a newer Pyramidion made it, use that one"
            )
        blobs = None if values["blobs"] is None else Blobs(**values["blobs"])
        return Manifest(**{**values, "holdings": Holdings(**values["holdings"]), "blobs": blobs})
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is no manifest of a backup ({error!r}): take another backup") from None


def described(file: Path) -> dict[str, Any]:
    """Give size and hash of a file, for the manifest."""
    with file.open("rb") as opened:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}


def backups(folder: Path) -> list[Path]:
    """Give the whole backups in a folder, oldest first."""
    return sorted(
        file.parent for file in folder.glob(f"*/{NAME}") if re.fullmatch(r"\d{8}T[\d.]+Z", file.parent.name)
    )


def choose(folder: Path) -> Path:
    """Give the backup that is meant: the folder itself, or the newest in it. Raises UserError."""
    if (folder / NAME).is_file():
        return folder
    found = backups(folder)
    if not found:
        raise UserError(
            f"there is no backup in {folder}: name a folder that `pyramidion backup` has written to"
        )
    return found[-1]
