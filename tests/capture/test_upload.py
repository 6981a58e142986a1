"""Stations that upload: each image becomes one inspection, and what isn't stored stays spooled."""

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from capture.folder import FolderSource
from capture.frames import Frame
from capture.images import Limits
from capture.live import simulated_frames
from capture.patience import AwayError
from capture.run import Progress, run
from capture.server import Server, UploadRefusedError
from capture.settings import CaptureSettings
from capture.simulator import SimulatedLine
from capture.spool import Spool
from capture.upload import Upload
from db import models, tokens
from db.tables import Event as AuditEvent
from db.tables import Inspection
from tests.forked import Process

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # no query differs here
Sessions = sessionmaker[Session]
Picture = Callable[..., bytes]

Start = Callable[[], Process]
UNHEARD = "from web.upload import uploads; uploads.enqueue = lambda ids, at: None"


@pytest.fixture
def token(sessions: Sessions) -> str:
    with sessions.begin() as session:
        models.ensure_product(session, "flange")
        return tokens.make(session, "camera", ["upload"], "admin", station="s1")[1]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture
def serve(port: int, processes: Callable[..., Process]) -> Start:
    """Start a real server on the port; it doesn't wait until that answers, as no station does."""
    return lambda: processes("serve", "--port", str(port), first=UNHEARD)


def accepted(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return sorted(session.scalars(select(Inspection.image_sha256)))


def wait_until(condition: Callable[[], Any], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def upload_to() -> Iterator[Callable[..., Upload]]:
    """Give what uploads to an address, showing a token; its connections are let go when the test ends."""
    with ExitStack() as closing_:

        def make(url: str, token: Callable[[], str] = lambda: "t") -> Upload:
            return closing_.enter_context(closing(Upload(Server(url, token))))

        yield make


@on_sqlite
@pytest.mark.timeout(300)  # processes start, and the machine may be busy
def test_killed_server_and_killed_station_each_image_becomes_one_inspection(
    tmp_path: Path,
    home: Path,
    token: str,
    port: int,
    serve: Start,
    processes: Callable[..., Process],
    sessions: Sessions,
    picture: Picture,
    upload_to: Callable[..., Upload],
    stop: Event,
) -> None:
    folder, file, number = tmp_path / "in", tmp_path / "token", 80
    folder.mkdir()
    for name in range(number - 1):
        (folder / f"part{name}.png").write_bytes(picture(seed=name, size=(200, 150)))
    (folder / "twin.png").write_bytes((folder / "part0.png").read_bytes())  # another part that looks the same
    (folder / "text.png").write_bytes(b"no image")
    file.write_text(token + "\n", encoding="utf-8")
    environment = {
        "PYRAMIDION_HOME": str(tmp_path / "station"),  # which knows nothing of database and broker
        "PYRAMIDION_DATABASE_URL": "",
        "PYRAMIDION_INTAKE_BATCH": "3",
        "PYRAMIDION_RETRY_MAX_S": "0.3",
    }
    url = f"http://127.0.0.1:{port}"
    words = ["capture", str(folder), "--product", "flange", "--station", "s1", "--serial-from-name", "--json"]
    words += ["--to", url, "--token-file", str(file)]

    server, station = serve(), processes(*words, env=environment)
    wait_until(lambda: len(accepted(sessions)) >= 10, 100)
    server.kill()  # with a request in hand, more often than not
    server.wait(10)
    before = len(accepted(sessions))
    serve()
    wait_until(lambda: len(accepted(sessions)) >= before + 10, 100)
    station.kill()
    station.wait(10)
    assert len(accepted(sessions)) < number, "the station was killed too late"

    log = tmp_path / "station.log"
    assert processes(*words, env=environment, log=log).wait(100) == 0
    said = log.read_text(encoding="utf-8")
    report = json.loads(said[said.index("{") :])
    assert (report["refused"], report["in_spool"]) == (1, 0)
    images = [path for path in folder.iterdir() if path.name != "text.png"]
    hashes = sorted(sha256(path.read_bytes()).hexdigest() for path in images)
    assert accepted(sessions) == hashes
    with sessions() as session:
        serials = sorted(map(str, session.scalars(select(Inspection.serial))))
        refused = session.scalars(select(AuditEvent).where(AuditEvent.kind == "image.refused")).all()
    assert serials == sorted(path.stem for path in images)
    assert [Path(event.detail["name"]).name for event in refused] == ["text.png"]

    source = FolderSource(folder, "flange", "s1", Limits.of(CaptureSettings()), serial_from_name=True)
    with Spool(tmp_path / "other", "s1") as spool:
        target = upload_to(url, lambda: token)
        once_more = run(source.existing(), spool, target, CaptureSettings(), stop=stop)
    assert (once_more.accepted, once_more.known) == (0, number)
    assert accepted(sessions) == hashes


@on_sqlite
def test_a_camera_goes_on_into_the_spool_while_the_server_is_away(
    home: Path,
    token: str,
    port: int,
    serve: Start,
    sessions: Sessions,
    spool: Spool,
    stop: Event,
    upload_to: Callable[..., Upload],
) -> None:
    frames = simulated_frames(
        SimulatedLine(1, 64, 0.0), product="flange", station="s1", stop=stop, count=12, image_format="jpeg"
    )
    said: list[str] = []
    settings = CaptureSettings(intake_batch=5, retry_max_s=0.3)
    done: list[Progress] = []
    thread = threading.Thread(
        target=lambda: done.append(
            run(
                frames,
                spool,
                upload_to(f"http://127.0.0.1:{port}", lambda: token),
                settings,
                stop=stop,
                say=said.append,
            )
        )
    )
    thread.start()
    wait_until(lambda: spool.waiting() == 12, 60)
    assert accepted(sessions) == []
    serve()
    thread.join(60)
    assert done[0].accepted + done[0].known == 12
    assert spool.pending() == []
    assert len(accepted(sessions)) == 12
    assert "can't be reached" in said[0]
    assert said[1:] == ["back: the server; going on"]


class Answering(BaseHTTPRequestHandler):
    """A server that says what a test has it say."""

    plan: Callable[["Answering"], tuple[int, dict[str, str], Any]]
    seen: list[tuple[str, bytes, str]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).seen.append((self.path, body, self.headers["Authorization"]))
        status, headers, document = type(self).plan(self)
        content = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Callable[..., tuple[str, list[tuple[str, bytes, str]]]]]:
    made: list[ThreadingHTTPServer] = []

    def start(
        plan: Callable[[Answering], tuple[int, dict[str, str], Any]], tls: ssl.SSLContext | None = None
    ) -> Any:
        handler = type("Planned", (Answering,), {"plan": staticmethod(plan), "seen": []})
        made.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        if tls is not None:
            made[-1].socket = tls.wrap_socket(made[-1].socket, server_side=True)
        threading.Thread(target=made[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{made[-1].server_port}", handler.seen

    yield start
    for one in made:
        one.shutdown()
        one.server_close()


def taken(request: Answering) -> tuple[int, dict[str, str], Any]:
    body = type(request).seen[-1][1]
    frames = json.loads(body[body.index(b"[") : body.index(b"]") + 1])
    ids = [frame["id"] for frame in frames]
    return 202, {}, {"accepted": ids, "known": [], "refused": [], "unannounced": 0}


def test_nothing_leaves_the_spool_that_the_server_said_nothing_of(
    home: Path,
    server: Any,
    a_frame: Callable[..., Frame],
    upload_to: Callable[..., Upload],
) -> None:
    frames = [a_frame(seed=seed) for seed in range(3)]
    answer = {"accepted": [str(frames[0].id)], "known": [str(frames[1].id)], "refused": []}
    url, _ = server(lambda _: (202, {}, answer))
    upload = upload_to(url)
    with pytest.raises(AwayError, match="nothing of 1 of 3 images"):
        upload.take(frames)
    report = upload.take(frames[:2])
    assert (report.accepted, report.known) == ((frames[0].id,), (frames[1].id,))
    url, _ = server(lambda _: (200, {}, ["a proxy's page"]))
    with pytest.raises(AwayError, match="no document"):
        upload_to(url).take(frames)


def test_what_is_too_much_at_once_is_sent_in_parts_and_what_is_too_large_is_refused(
    home: Path,
    server: Any,
    a_frame: Callable[..., Frame],
    upload_to: Callable[..., Upload],
) -> None:
    frames = [a_frame(seed=seed) for seed in range(7)]
    large = a_frame(os.urandom(50_000), seed=9)
    limit = 2 * len(frames[0].data) + 2_500  # two images, with what describes them

    def plan(request: Answering) -> tuple[int, dict[str, str], Any]:
        path, body, _ = type(request).seen[-1]
        if len(body) > limit and path.endswith("/inspections"):
            return 413, {}, {"detail": "A request here has at most 9 bytes."}
        return taken(request) if path.endswith("/inspections") else (200, {}, {"noted": 1})

    url, seen = server(plan)
    report = upload_to(url).take([*frames, large])
    assert sorted(report.accepted) == sorted(frame.id for frame in frames)
    assert [(one.id, one.reason) for one in report.refused] == [
        (large.id, "A request here has at most 9 bytes")
    ]
    assert seen[-1][0].endswith("/refused")
    assert str(large.id).encode() in seen[-1][1]


def test_a_name_that_no_database_keeps_stops_no_other_image(
    home: Path,
    server: Any,
    a_frame: Callable[..., Frame],
    upload_to: Callable[..., Upload],
) -> None:
    url, seen = server(lambda request: taken(request) if len(type(request).seen) == 1 else (200, {}, {}))
    bad = a_frame(seed=1, serial="caf\udce9", name="/in/caf\udce9.png")
    report = upload_to(url).take([bad, a_frame(seed=2)])
    assert len(report.accepted) == 1
    assert [one.id for one in report.refused] == [bad.id]
    assert b"serial" in seen[-1][1]


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (401, "PYRAMIDION_UPLOAD_TOKEN_FILE"),
        (403, "--token-file"),
        (404, "--to and PYRAMIDION_UPLOAD_URL"),
        (303, "--to and PYRAMIDION_UPLOAD_URL"),
        (422, "unknown product"),
    ],
)
def test_what_a_person_has_to_cure_ends_the_capture_at_its_start_and_keeps_the_frames(
    home: Path,
    server: Any,
    spool: Spool,
    a_frame: Callable[..., Frame],
    stop: Event,
    status: int,
    cure: str,
    upload_to: Callable[..., Upload],
) -> None:
    url, _ = server(lambda _: (status, {"Location": "/login"}, {"detail": "unknown product 'flange'."}))
    with pytest.raises(UploadRefusedError, match=cure) as told:
        run([a_frame()], spool, upload_to(url, lambda: "pyr_secret"), CaptureSettings(), stop=stop)
    assert "pyr_secret" not in str(told.value)
    assert spool.waiting() == 1


def test_a_token_that_ends_is_waited_for_and_read_anew(
    home: Path,
    server: Any,
    spool: Spool,
    a_frame: Callable[..., Frame],
    stop: Event,
    upload_to: Callable[..., Upload],
) -> None:
    shown = ["old"]

    def plan(request: Answering) -> tuple[int, dict[str, str], Any]:
        _, _, authorization = type(request).seen[-1]
        if len(type(request).seen) == 1 or authorization == "Bearer new":
            return taken(request)
        return 401, {}, {"detail": "This token opens nothing."}

    def say(text: str) -> None:
        said.append(text)
        shown[:] = ["new"]

    said: list[str] = []
    url, seen = server(plan)
    settings = CaptureSettings(intake_batch=1, retry_max_s=0.1)
    frames = [a_frame(seed=1), a_frame(seed=2)]
    progress = run(frames, spool, upload_to(url, lambda: shown[0]), settings, stop=stop, say=say)
    assert progress.accepted == 2
    assert "This token opens nothing" in said[0]
    assert len(seen) == 3


def test_a_server_that_is_full_says_when_to_come_again(
    home: Path,
    server: Any,
    spool: Spool,
    a_frame: Callable[..., Frame],
    stop: Event,
    upload_to: Callable[..., Upload],
) -> None:
    begun = datetime.now(UTC)
    url, seen = server(
        lambda request: (
            taken(request)
            if len(type(request).seen) > 1
            else (503, {"Retry-After": "1"}, {"detail": "no room."})
        )
    )
    said: list[str] = []
    progress = run([a_frame()], spool, upload_to(url), CaptureSettings(), stop=stop, say=said.append)
    assert progress.accepted == 1
    assert "no room; images wait in the spool" in said[0]
    assert len(seen) == 2
    assert (datetime.now(UTC) - begun).total_seconds() >= 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "plant.example",
        "ftp://plant.example",
        "https://",
        "https://a:b@plant.example",
        "https://x:y",
        "http://[::1",
    ],
)
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(UploadRefusedError, match="--to"):
        Server(url, lambda: "t")


@pytest.mark.parametrize("token", ["", "two words", "new\nline", "schlüssel"])
def test_a_token_that_is_none_is_told_without_showing_it(token: str) -> None:
    with pytest.raises(UploadRefusedError, match="--token-file") as told:
        Server("http://127.0.0.1:1", lambda: token).ask("inspections/known", json={})
    assert not token or token not in str(told.value)


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path) -> None:
    with pytest.raises(UploadRefusedError, match="PYRAMIDION_UPLOAD_CA_FILE"):
        Server("https://plant.example", lambda: "t", tmp_path / "none.pem")


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of localhost that vouches for itself; gives its file and that with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(made.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "both.pem").write_bytes(private + made.public_bytes(Encoding.PEM))
    return folder / "ca.pem", folder / "both.pem"


def test_only_a_server_that_somebody_trusted_vouches_for_is_told_the_token(
    tmp_path: Path, home: Path, server: Any
) -> None:
    ca, both = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    url, seen = server(lambda _: (200, {}, {"known": []}), context)
    port = url.rpartition(":")[2]
    for trusted, host in ((None, "localhost"), (ca, "127.0.0.1")):  # a stranger, and another name
        with (
            closing(Upload(Server(f"https://{host}:{port}", lambda: "t", trusted))) as upload,
            pytest.raises(AwayError, match="PYRAMIDION_UPLOAD_CA_FILE"),
        ):
            upload.known([])
    assert seen == []
    with closing(Upload(Server(f"https://localhost:{port}", lambda: "t", ca))) as upload:
        assert upload.known([]) == set()
    assert len(seen) == 1
