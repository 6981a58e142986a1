"""Merkle trees as in RFC 6962, section 2.1: leaves and nodes are hashed in domains of their own.

A leaf is SHA-256(0x00 || content), a node SHA-256(0x01 || left || right); a row's last node without a partner
is taken up unchanged.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256


def leaf_hash(content: bytes) -> bytes:
    return sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Give the root over leaf hashes; raises ValueError for none."""
    return levels(leaves)[-1][0]


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Give the same root over leaf hashes that are not held in memory; raises ValueError for none."""
    whole: list[tuple[int, bytes]] = []  # trees without gaps, by number of leaves, the greatest first
    for leaf in leaves:
        size, top = 1, leaf
        while whole and whole[-1][0] == size:
            top = node_hash(whole.pop()[1], top)
            size *= 2
        whole.append((size, top))
    if not whole:
        raise ValueError("a tree without leaves has no root here: empty blocks are not made")
    top = whole.pop()[1]
    while whole:
        top = node_hash(whole.pop()[1], top)
    return top


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Give the rows of the tree, from the leaves up to the root; raises ValueError for no leaf."""
    if not leaves:
        raise ValueError("a tree without leaves has no root here: empty blocks are not made")
    rows = [list(leaves)]
    while len(rows[-1]) > 1:
        row = rows[-1]
        up = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        rows.append(up + row[len(up) * 2 :])
    return rows


def path(rows: Sequence[Sequence[bytes]], position: int) -> list[bytes]:
    """Give the siblings of the leaf at `position`, from below: about log2(leaves) hashes."""
    if not 0 <= position < len(rows[0]):
        raise ValueError(f"position {position} is none of {len(rows[0])} leaves")
    siblings = []
    for row in rows[:-1]:
        sibling = position ^ 1
        if sibling < len(row):
            siblings.append(row[sibling])
        position //= 2
    return siblings


def root_from(leaf: bytes, position: int, leaves: int, siblings: Sequence[bytes]) -> bytes | None:
    """Give the root that a leaf at `position` of `leaves` leads to; None for a path of the wrong length."""
    if not 0 <= position < leaves:
        return None
    found, left = leaf, list(siblings)
    while leaves > 1:
        if position ^ 1 < leaves:
            if not left:
                return None
            sibling = left.pop(0)
            found = node_hash(sibling, found) if position & 1 else node_hash(found, sibling)
        position //= 2
        leaves = (leaves + 1) // 2
    return None if left else found
