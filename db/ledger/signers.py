"""Who signs: a key in a file or in the environment, or whatever else has this shape, such as a KMS."""

import importlib
import os
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol
from uuid import uuid4

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from db.home import private_folder
from db.ledger.settings import LedgerSettings

CURE: Final = (
    "restore it from a backup, or name it with PYRAMIDION_LEDGER_KEY_PATH or PYRAMIDION_LEDGER_KEY_FILE; "
    "where it is lost for good: `pyramidion audit rotate --lost`"
)


class LedgerKeyError(Exception):
    """The key that seals is missing, unreadable, or not the one that the ledger knows."""


class Signer(Protocol):
    """What can seal: an Ed25519 key, wherever it is kept. The key itself never has to leave that place."""

    @property
    def key_id(self) -> str: ...  # sha256 of the public key's 32 bytes, 64 hexadecimal digits

    @property
    def public_key(self) -> bytes: ...  # 32 bytes

    def sign(self, content: bytes) -> bytes: ...  # 64 bytes


class LocalSigner:
    """A private key in this process's memory."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = key_id(self.public_key)

    def sign(self, content: bytes) -> bytes:
        return self._key.sign(content)


def key_id(public_key: bytes) -> str:
    return sha256(public_key).hexdigest()


def is_signed(public_key: bytes, signature: bytes, content: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def open_signer(settings: LedgerSettings) -> Signer | None:
    """Give the signer of the settings, None where there is none yet; raises LedgerKeyError."""
    if settings.ledger_signer is not None:
        return _from_elsewhere(settings.ledger_signer)
    if settings.ledger_key is not None:
        return _loaded(settings.ledger_key.get_secret_value().encode(), "PYRAMIDION_LEDGER_KEY")
    file = settings.key_path()
    try:
        return _loaded(file.read_bytes(), str(file))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerKeyError(f"the ledger's key {file} can't be read: {error.strerror}; {CURE}") from None


def make_key(file: Path) -> Signer:
    """Make a key in a file of mode 0600, or give the one that is there; raises LedgerKeyError."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        private_folder(file.parent)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(pem)
            opened.flush()
            os.fsync(opened.fileno())
        try:
            os.link(draft, file)  # unlike a rename it leaves a key that another process was quicker to make
        except FileExistsError:
            pass
        finally:
            draft.unlink(missing_ok=True)
        return _loaded(file.read_bytes(), str(file))
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise LedgerKeyError(
            f"cannot make the ledger's key {file}: {error.strerror}; set PYRAMIDION_LEDGER_KEY_PATH to a "
            "file that you may write"
        ) from None


def _from_elsewhere(place: str) -> Signer:
    module, _, name = place.partition(":")
    try:
        signer: Signer = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise LedgerKeyError(
            f"PYRAMIDION_LEDGER_SIGNER={place} gives no signer: {error}; write module:function, a function "
            "without arguments that gives a db.ledger.signers.Signer"
        ) from None
    return signer


def _loaded(pem: bytes, where: str) -> LocalSigner:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise LedgerKeyError(
            f"{where} is no private Ed25519 key in PEM without a password "
            f"(`openssl genpkey -algorithm ed25519` makes one); {CURE}"
        )
    return LocalSigner(key)
