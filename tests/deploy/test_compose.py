"""The compose file is valid and keeps to what production asks of it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ONE_SHOT = {"bucket", "migrate", "cli"}


@pytest.fixture
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(compose["services"])


def test_it_is_what_the_compose_specification_describes() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*check, ROOT / "docker-compose.yml"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_it_has_every_part_of_a_plant(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == ONE_SHOT | {
        *("redis", "postgres", "s3", "worker", "worker-gpu", "trainer", "trainer-gpu"),
        *("housekeeping", "beat", "web", "flower"),
    }
    assert {name for name, one in services.items() if "gpu" in one.get("profiles", [])} == {
        "worker-gpu",
        "trainer-gpu",
    }


def test_no_container_is_privileged(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert not set(service) & {
            "privileged",
            "cap_add",
            "devices",
            "pid",
            "ipc",
            "network_mode",
            "userns_mode",
        }, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        # Ours take the user from the image, which is not root (test_dockerfile.py).
        assert "build" in service or re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name
        assert not any("docker.sock" in str(volume) for volume in service.get("volumes", [])), name


def test_every_image_is_pinned_to_a_version(services: dict[str, dict[str, Any]]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for name, service in services.items():
        image, _, tag = service["image"].partition(":")
        assert re.match(r"\d+\.\d+", tag), f"{name}: {service['image']}"
        if image == "pyramidion":
            assert tag == f"{version}-{service['build']['target']}", name


def test_long_running_services_restart_and_say_whether_they_are_well(
    services: dict[str, dict[str, Any]],
) -> None:
    for name, service in services.items():
        if name in ONE_SHOT:
            assert service["restart"] == "no", name
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name


def test_ports_are_open_to_this_machine_only(services: dict[str, dict[str, Any]]) -> None:
    published = {name: one["ports"] for name, one in services.items() if "ports" in one}
    assert published == {"web": ["127.0.0.1:8000:8000"], "flower": ["127.0.0.1:5555:5555"]}


def test_only_the_two_with_ports_reach_beyond_the_machine(compose: dict[str, Any]) -> None:
    open_networks = {name for name, one in compose["networks"].items() if not one.get("internal")}
    outward = {name for name, one in compose["services"].items() if set(one["networks"]) & open_networks}
    assert outward == {"web", "flower"}


def test_passwords_come_from_files_alone(compose: dict[str, Any]) -> None:
    for name, secret in compose["secrets"].items():
        assert secret == {"file": f"./deploy/secrets/{name}"}
    used = set()
    for name, service in compose["services"].items():
        used |= set(service.get("secrets", []))
        for variable, value in service.get("environment", {}).items():
            if (
                re.search(r"PASSWORD|SECRET|KEY|AUTH|TOKEN|BROKER_URL|DATABASE_URL", variable)
                and "INITDB" not in variable
            ):
                assert variable.endswith("_FILE"), f"{name}: {variable}"
                assert str(value).removeprefix("/run/secrets/") in service["secrets"], f"{name}: {variable}"
            assert not re.search(r"://[^/]*@", str(value)), f"{name}: {variable} holds credentials"
    assert used == set(compose["secrets"])


def test_a_gpu_worker_differs_in_its_image_alone(services: dict[str, dict[str, Any]]) -> None:
    """So that what the tests show of `worker` and `trainer` holds for these as well."""
    for name in ("worker", "trainer"):
        own = {"image", "build", "profiles", "deploy"}
        plain = {key: value for key, value in services[name].items() if key not in own}
        assert plain == {key: value for key, value in services[f"{name}-gpu"].items() if key not in own}


def test_workers_can_be_told_how_to_watch_and_train_and_are_told_the_same(
    services: dict[str, dict[str, Any]],
) -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    wanted = set(re.findall(r"PYRAMIDION_(?:DRIFT|DATASET|TRAINING)_\w+", page))
    assert len(wanted) > 15
    for name in ("worker", "worker-gpu", "trainer", "trainer-gpu", "housekeeping", "beat", "cli"):
        assert wanted <= set(services[name]["environment"]), name


def test_a_trainer_has_room_for_several_processes_and_their_images(
    services: dict[str, dict[str, Any]],
) -> None:
    for name in ("trainer", "trainer-gpu"):
        assert (services[name]["shm_size"], services[name]["tmpfs"]) == ("1g", ["/tmp:size=8g"])
    (reserved,) = services["trainer-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == {"driver": "nvidia", "count": "1", "capabilities": ["gpu"]}


def test_services_wait_for_what_they_need(services: dict[str, dict[str, Any]]) -> None:
    needed = {"broker_url": "redis", "database_url": "migrate", "s3_access_key_id": "bucket"}
    for name, service in services.items():
        for secret, other in needed.items():
            if secret in service.get("secrets", []) and name != other:
                assert other in service["depends_on"], f"{name} waits for {other}"


def test_env_example_holds_no_password_and_only_variables_that_are_read() -> None:
    example = (ROOT / "deploy" / ".env.example").read_text(encoding="utf-8")
    names = re.findall(r"^(\w+)=", example, re.MULTILINE)
    assert not [name for name in names if re.search(r"PASSWORD|SECRET_|KEY|TOKEN", name)]
    read = re.findall(r"\$\{(\w+):-", (ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert set(names) == set(read)
