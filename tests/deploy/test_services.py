"""Each of our services' very command from docker-compose.yml, as a process against real services."""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from celery import Celery

JOBS = ("bucket", "migrate")
WORKERS = ("worker", "trainer", "housekeeping")
SERVICES = (*WORKERS, "beat", "web", "flower")
# postgres is the embedded one; the GPU services differ in their image alone (test_compose.py);
# cli runs what a person asks for.
ELSEWHERE = {"postgres", "worker-gpu", "trainer-gpu", "cli"}


@pytest.fixture(scope="module")
def running(plant: Any) -> Any:
    """The whole plant, started in the order of its dependencies."""
    plant.start("redis", "s3")
    plant.wait_until(lambda: plant.answers("redis"), "redis to listen")
    plant.wait_until(lambda: plant.answers("s3"), "the image store to listen")
    for job in JOBS:
        done = plant.run(job)
        assert done.returncode == 0, f"{job}: {done.stdout}{done.stderr}"
    plant.start(*SERVICES)
    return plant


@pytest.fixture
def control(running: Any) -> Iterator[Any]:
    app = Celery(broker=running.secret("broker_url"))
    yield app.control
    app.close()


def get(url: str, login: str = "", host: str = "") -> tuple[int, str]:
    headers = {"Authorization": "Basic " + b64encode(login.encode()).decode()} if login else {}
    headers |= {"Host": host} if host else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_every_service_of_the_compose_file_is_run_here(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) - ELSEWHERE == {"redis", "s3", *JOBS, *SERVICES}


@pytest.mark.parametrize("job", JOBS)
def test_jobs_may_run_at_every_start(running: Any, job: str) -> None:
    done = running.run(job)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_its_health_check_finds_it_well(running: Any, service: str) -> None:
    running.wait_until(lambda: running.check_health(service).returncode == 0, f"{service} to be well")


def test_doctor_finds_every_part_from_inside(running: Any) -> None:
    """As the README's first start ends: `docker compose run --rm cli doctor`."""
    done = running.run("cli", [*running.command("cli")[:1], "doctor", "--json"])
    assert done.stdout, done.stderr
    checks = json.loads(done.stdout)["checks"]
    assert [
        name for name in ("settings", "database", "images", "broker", "workers") if not checks[name]["ok"]
    ] == []
    assert f"127.0.0.1:{running.ports['s3']}" in checks["images"]["says"]


def test_a_health_check_finds_nobody_where_nobody_is(running: Any) -> None:
    words = running.compose["services"]["worker"]["healthcheck"]["test"][1:-1]
    done = running.run("worker", [running.command("bucket")[0], running.local(words[1]), words[2], "nobody"])
    assert done.returncode == 1
    assert "no worker nobody-" in done.stderr


def test_a_worker_of_each_queue_answers(running: Any, control: Any) -> None:
    def names() -> set[str]:
        return {name.split("-")[0] for answer in control.ping(timeout=2) for name in answer}

    running.wait_until(lambda: names() == {"score", "train", "housekeeping"}, "three workers to answer")


def test_the_clock_sends_sweeps_and_housekeeping_does_them(running: Any, control: Any) -> None:
    def sweeps() -> int:
        stats = control.inspect(timeout=2).stats() or {}
        return sum(one["total"].get("workers.sweep", 0) for one in stats.values())

    running.wait_until(lambda: sweeps() >= 2, "two sweeps")


def test_the_page_says_that_it_is_well_and_lets_nobody_in_without_an_account(running: Any) -> None:
    page = f"http://127.0.0.1:{running.ports['web']}"
    running.wait_until(lambda: running.answers("web"), "the page to listen")
    assert get(f"{page}/healthz")[0] == 200
    # Here it listens on this machine alone, where whoever sits at it may look; others are refused.
    refused, said = get(f"{page}/", host="plant.example")
    assert refused == 421
    assert "users add NAME --role admin" in said


def test_flower_lists_the_workers_to_those_who_log_in(running: Any) -> None:
    flower = f"http://127.0.0.1:{running.ports['flower']}"
    running.wait_until(lambda: running.answers("flower"), "Flower to listen")
    for path in ("/", "/workers", "/tasks", "/broker", "/api/workers"):
        assert get(flower + path)[0] == 401, path
        assert get(flower + path, "pyramidion:guess")[0] == 401, path

    def workers() -> str:
        return " ".join(json.loads(get(f"{flower}/api/workers?refresh=1", running.secret("flower_auth"))[1]))

    running.wait_until(
        lambda: all(f"{one}-" in workers() for one in ("score", "train", "housekeeping")), "workers"
    )


def test_flower_stops_no_worker(running: Any) -> None:
    running.wait_until(lambda: running.answers("flower"), "Flower to listen")
    login = b64encode(running.secret("flower_auth").encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.ports['flower']}/api/worker/shutdown/any",
        data=b"",
        headers={"Authorization": f"Basic {login}"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value:
        assert refused.value.code == 403


@pytest.mark.parametrize("content", [None, "", "pyramidion:", ":password"])
def test_flower_does_not_start_without_a_password(running: Any, content: str | None) -> None:
    file = running.folder / "no-password"
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_text(content, encoding="utf-8")
    environment = running.environment("flower") | {"FLOWER_BASIC_AUTH_FILE": str(file)}
    done = subprocess.run(
        running.command("flower"), env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "FLOWER_BASIC_AUTH_FILE" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_secret_stands_on_a_command_line_or_in_the_environment(running: Any) -> None:
    values = {running.secret(name).rpartition(":")[2].split()[-1] for name in ("redis_auth", "flower_auth")}
    values |= {running.secret(name) for name in ("s3_secret_access_key", "s3_admin_secret_access_key")}
    for service, process in running.running.items():
        seen = psutil.Process(process.pid)
        content = " ".join([*seen.cmdline(), *seen.environ().values()])
        assert not [value for value in values if value in content], service


def test_logs_hold_no_secret_and_no_traceback(running: Any) -> None:
    for service in (*SERVICES, "redis"):
        log = running.log(service)
        assert "Traceback" not in log, log
        assert running.secret("redis_auth").split()[1] not in log, service


def test_sigterm_ends_every_service_cleanly(running: Any) -> None:
    """Last in this file: it is what `docker compose stop` sends."""
    for service in SERVICES:  # a process that still imports has nothing to end in order
        running.wait_until(
            lambda one=service: running.check_health(one).returncode == 0, f"{service} to be well"
        )
    for service in (*SERVICES, "redis"):
        running.running[service].send_signal(signal.SIGTERM)
        if service == "flower":
            time.sleep(0.5)  # the broker outlives its clients
    for service in (*SERVICES, "redis"):
        code = running.running[service].wait(25)
        # uvicorn shuts down in order and then ends as by the signal that it was given.
        assert code == 0 or (service == "web" and code == -signal.SIGTERM), (
            f"{service}: {code}\n{running.log(service)}"
        )
