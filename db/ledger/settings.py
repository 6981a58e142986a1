"""What the ledger can be told from outside."""

import re
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from db.settings import DatabaseSettings, Settings


class LedgerSettings(Settings):
    """Settings of sealing, its key, and where block heads are told."""

    ledger_key: SecretStr | None = Field(
        default=None,
        description="Private key that seals, Ed25519 as PEM. Unset: that of PYRAMIDION_LEDGER_KEY_PATH.",
    )
    ledger_key_path: Path | None = Field(
        default=None,
        description="File of the private key that seals, PEM. Unset: ledger/key.pem in the home folder, made "
        "at first use. Keep a copy elsewhere.",
    )
    ledger_signer: str | None = Field(
        default=None,
        description="Whoever else signs, such as a KMS, as module:function that gives a "
        "db.ledger.signers.Signer. It goes before a key.",
    )
    seal_block_facts: int = Field(
        default=4096, ge=1, le=65536, description="Most facts that one block of the ledger holds."
    )
    anchor_path: Path | None = Field(
        default=None,
        description="File that block heads are appended to; verify compares. Unset: ledger/heads.jsonl in "
        "the home folder. Better on a machine that the database's administrator can't write to.",
    )
    anchor_url: SecretStr | None = Field(
        default=None, description="Address that each block head is sent to as JSON (POST). Unset: none."
    )
    anchor_syslog: str | None = Field(
        default=None,
        description="Syslog that block heads are told to: host:port (UDP) or a socket such as /dev/log. "
        "Unset: none.",
    )
    anchor_print: bool = Field(
        default=False,
        description="Print block heads on standard output of whoever seals, for a log or a printer.",
    )

    @field_validator("anchor_url")
    @classmethod
    def _http(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("block heads are sent by HTTP: the URL begins with http:// or https://")
        return url

    @field_validator("anchor_syslog")
    @classmethod
    def _address(cls, address: str | None) -> str | None:
        if address is not None and not re.fullmatch(
            r"/.+|[^:/]+:\d{1,5}|\[[0-9a-fA-F:.]+\]:\d{1,5}", address
        ):
            raise ValueError(
                "write host:port, such as logs.plant.example:514, or the path of a socket such as /dev/log"
            )
        return address

    def key_path(self) -> Path:
        return self.ledger_key_path or DatabaseSettings().home / "ledger" / "key.pem"

    def anchor_file(self) -> Path:
        return self.anchor_path or DatabaseSettings().home / "ledger" / "heads.jsonl"
