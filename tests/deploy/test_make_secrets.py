"""deploy/make-secrets.sh: strong, whole, unreachable for others, and never overwritten."""

import json
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]


def make(folder: Path) -> subprocess.CompletedProcess[str]:
    script = ROOT / "deploy" / "make-secrets.sh"
    return subprocess.run([script, folder], capture_output=True, text=True, timeout=30, check=False)


def read(folder: Path) -> dict[str, str]:
    return {one.name: one.read_text(encoding="utf-8").strip() for one in folder.iterdir()}


def test_it_makes_every_secret_of_the_compose_file_and_shows_none(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "deploy" / "secrets"
    done = make(folder)
    assert done.returncode == 0, done.stderr
    secrets = read(folder)
    assert set(secrets) == set(compose["secrets"])
    assert [one.name for one in folder.parent.iterdir()] == ["secrets"]
    for value in secrets.values():
        assert value.rpartition(":")[2] not in done.stdout


def test_services_and_clients_are_given_the_same_passwords(tmp_path: Path) -> None:
    make(tmp_path / "one")
    secrets = read(tmp_path / "one")
    broker, database = urlsplit(secrets["broker_url"]), urlsplit(secrets["database_url"])
    assert secrets["redis_auth"] == f"requirepass {broker.password}"
    assert (broker.hostname, broker.port) == ("redis", 6379)
    assert database.password == secrets["postgres_password"]
    assert (database.hostname, database.username, database.path) == ("postgres", "pyramidion", "/pyramidion")
    admin, service = json.loads(secrets["s3_identities"])["identities"]
    for identity, prefix in ((admin, "s3_admin"), (service, "s3")):
        (keys,) = identity["credentials"]
        assert keys["accessKey"] == secrets[f"{prefix}_access_key_id"]
        assert keys["secretKey"] == secrets[f"{prefix}_secret_access_key"]
    assert service["actions"] == ["Read:pyramidion", "Write:pyramidion", "List:pyramidion"]


def test_every_run_makes_others(tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "two")
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert all(one[name] != two[name] for name in one)
    values = [value for name, value in one.items() if "identities" not in name and "url" not in name]
    assert len(set(values)) == len(values)


def test_the_folder_keeps_others_out_and_lets_containers_read(tmp_path: Path) -> None:
    make(tmp_path / "secrets")
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "secrets").iterdir()} == {0o444}


def test_it_never_overwrites(tmp_path: Path) -> None:
    make(tmp_path / "secrets")
    before = read(tmp_path / "secrets")
    again = make(tmp_path / "secrets")
    assert again.returncode == 1
    assert "nothing was changed" in again.stderr
    assert read(tmp_path / "secrets") == before
    assert [one.name for one in tmp_path.iterdir()] == ["secrets"]


def test_git_keeps_secrets_out() -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", "deploy/secrets/broker_url"],
        cwd=ROOT,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ignored.returncode == 0
