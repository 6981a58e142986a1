"""Block heads that were told outside, compared with those of the database.

Whoever rules the database can cut the newest blocks off and seal others in their place, if they have the key.
They can't take back what was told.
"""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.ledger.bad import Bad
from db.ledger.heads import head_of
from db.tables import Anchor, Block

_AT_ONCE: Final = 1000


class HeadsFileError(Exception):
    """A file of block heads can't be read."""


def place_of(file: Path) -> str:
    return f"file {file}"[:255]


def compare(session: Session, file: Path) -> Iterator[Bad]:
    """Give the heads in a file that the database hasn't, and those that the file should hold and lacks.

    What is no head is passed over, since writers die in the middle of lines: where it was one, it is lacking.
    Raises HeadsFileError where the file can't be read.
    """
    anchor = session.get(Anchor, place_of(file))
    last = 0
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            while page := list(islice(lines, _AT_ONCE)):
                told = list(_parsed(page))
                for number, _ in told:
                    if anchor is not None and number > last + 1:
                        yield Bad(
                            f"block {last + 1} was told to {file} and is no longer there", block=last + 1
                        )
                    last = max(last, number)
                yield from _differing(session, file, told)
    except FileNotFoundError:
        pass  # nothing was told yet, or what was told was removed: the anchor's row says which
    except OSError as error:
        raise HeadsFileError(f"{file} can't be read: {error.strerror}; name another with --heads") from None
    if anchor is not None and anchor.block > last:
        yield Bad(
            f"{file} ends with block {last}, but was told up to {anchor.block}: it was cut", block=last + 1
        )


def _parsed(lines: list[str]) -> Iterator[tuple[int, str]]:
    for line in lines:
        try:
            head = json.loads(line)
            yield int(head["number"]), str(head["hash"])
        except (ValueError, KeyError, TypeError):
            continue


def _differing(session: Session, file: Path, told: list[tuple[int, str]]) -> Iterator[Bad]:
    numbers = {number for number, _ in told}
    blocks = session.scalars(select(Block).where(Block.number.in_(numbers)))
    found = {block.number: head_of(block).hash().hex() for block in blocks}
    for number, hash_ in told:
        if number not in found:
            yield Bad(f"block {number} was told to {file} and is gone: the chain was cut", block=number)
        elif found[number] != hash_:
            yield Bad(f"block {number} is another than was told to {file}: it was sealed anew", block=number)
    session.expire_all()
