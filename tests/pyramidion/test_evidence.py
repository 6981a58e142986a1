"""Evidence as it is handed out, and verified by who has nothing but the file."""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session, sessionmaker

from db import events, inspections, lots, models, results
from db.engine import make_engine, session_factory
from db.evidence import verify
from db.evidence.collect import NothingThereError
from db.ids import uuid7
from db.imagestore import key_of, open_image_store
from db.ledger import lots_let_go, released, unsealed
from db.ledger.facts import Kind
from db.ledger.proofs import NotAsSealedError
from db.ledger.seal import seal as seal_all
from db.ledger.settings import LedgerSettings
from db.ledger.signers import make_key
from db.ledger.verify import Wanted
from db.ledger.verify import verify as audit
from db.matching import Filter
from db.migrate import upgrade
from db.retention import acts, policy
from db.retention.due import Act
from db.settings import DatabaseSettings
from db.tables import Event, Review
from model.maps import encode_map
from pyramidion.commands import filters
from pyramidion.commands.audit import seal
from pyramidion.commands.evidence import export
from pyramidion.commands.lot import lot as lot_command
from pyramidion.commands.retention import hold
from pyramidion.errors import UserError

NOW = datetime.now(UTC)
LOT = "L<script>7"


def picture(seed: int, side: int = 64) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 255, (side, side), np.uint8)
    Image.fromarray(noise).save(out, "PNG")
    return out.getvalue()


def make_lot(database: DatabaseSettings, sessions: sessionmaker[Session], now: datetime = NOW) -> list[UUID]:
    """Five parts: ok, ng and overruled, ng and confirmed, error, pending."""
    store = open_image_store(database)
    manifest = json.dumps({"calibration": {"threshold": 0.5}})
    model = hashlib.sha256(manifest.encode()).hexdigest()
    weights = b"weights"
    store.put(weights)
    new = []
    for number in range(5):
        data = picture(number)
        sha256 = hashlib.sha256(data).hexdigest()
        store.put(data)
        at = now + timedelta(seconds=number)
        names = ("tile", "s1", "line 1", f"<b>{number}</b>", LOT)
        new.append(
            inspections.NewInspection(
                uuid7(at), *names, at, now, sha256, key_of(sha256), len(data), 64, 64, "PNG"
            )
        )
    with sessions.begin() as session:
        models.ensure_product(session, "tile")
        models.register(session, model, "tile", manifest, hashlib.sha256(weights).hexdigest(), 100)
        models.set_champion(session, "tile", model, actor="a", why="first")
        inspections.accept(session, new)
        for number, (verdict, score) in enumerate((("ok", 0.2), ("ng", 0.9), ("ng", 0.8))):
            drawn = encode_map(np.linspace(0, score, 4096, dtype=np.float32).reshape(64, 64))
            results.record(
                session,
                [
                    results.NewResult(
                        new[number].id, verdict, score, 0.5, model, "w", 1, now, {}, [], None,
                        results.NewMap(**vars(drawn)),
                    )
                ],
            )  # fmt: skip
        why = "<img src=x>"
        failed = results.NewResult(new[3].id, "error", None, None, None, "w", 3, now, {}, [], why, None)
        results.record(session, [failed])
        for index, (part, verdict) in enumerate(((1, "confirm"), (1, "overrule"), (2, "confirm"))):
            id_ = uuid7(datetime(2026, 11, 1, 12, 0, index, tzinfo=UTC))
            session.add(
                Review(id=id_, inspection_id=new[part].id, verdict=verdict, reviewer="r&d", created_at=NOW)
            )
            session.flush()
            unsealed.add(session, Kind.REVIEW, [id_])
    return [one.id for one in new]


@pytest.fixture(autouse=True)
def disposed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the connections of commands that are called here: as processes they would just end."""
    made: list[Engine] = []

    def make(settings: DatabaseSettings, **more: bool) -> Engine:
        made.append(make_engine(settings, **more))
        return made[-1]

    monkeypatch.setattr("pyramidion.context.make_engine", make)
    yield
    for engine in made:
        engine.dispose()


@pytest.fixture
def lot(database: DatabaseSettings, sessions: sessionmaker[Session]) -> list[UUID]:
    return make_lot(database, sessions)


@pytest.fixture
def single_machine(home: Path) -> Iterator[list[UUID]]:
    """The lot on SQLite."""
    engine = make_engine(DatabaseSettings())
    upgrade(engine)
    yield make_lot(DatabaseSettings(), session_factory(engine))
    engine.dispose()


@pytest.fixture(scope="session")
def only_cryptography(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the signature library, and what that needs, in it."""
    folder = tmp_path_factory.mktemp("packages")
    for name in ("cryptography", "cffi", "pycparser", "_cffi_backend"):
        found = find_spec(name)
        if found is not None and found.origin is not None:
            origin = Path(found.origin)
            target = origin.parent if origin.name == "__init__.py" else origin
            (folder / target.name).symlink_to(target)
    return folder


@pytest.fixture
def stand_alone(only_cryptography: Path, tmp_path: Path) -> Callable[..., tuple[int, Any]]:
    """Run the verify.py of an evidence file in an interpreter that knows no package of this project."""
    start = (
        "import sys, importlib.util, runpy\n"
        f"sys.path.insert(0, {str(only_cryptography)!r})\n"
        "for name in ('db', 'pyramidion', 'sqlalchemy', 'rfc8785'):\n"
        "    assert importlib.util.find_spec(name) is None, name\n"
        "runpy.run_path(sys.argv[1], run_name='__main__')\n"
    )

    def run(verifier: bytes, *words: str) -> tuple[int, Any]:
        script = tmp_path / "verify.py"
        script.write_bytes(verifier)
        start_with_script = start.replace("runpy.run", "sys.argv = sys.argv[1:]; runpy.run").replace(
            "sys.argv[1]", "sys.argv[0]"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", start_with_script, str(script), *words, "--json"],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={},
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)

    return run


def member(file: Path, name: str) -> bytes:
    with ZipFile(file) as archive:
        return archive.read(name)


def test_a_lots_evidence_stands_on_its_own(
    lot: list[UUID], sessions: sessionmaker[Session], stand_alone: Any, tmp_path: Path
) -> None:
    file = tmp_path / "lot.zip"
    export(output=file, lot=LOT)
    code, said = stand_alone(member(file, "verify.py"), str(file))
    assert (code, said["faults"], said["about"]) == (0, [], {"lot": LOT})
    assert said["completeness"] == {
        "captured": 5, "judged": 3, "error": 1, "pending": 1, "let_go": 0, "overridden": 1,
    }  # fmt: skip
    assert said["facts"] == 5 + 4 + 3 + 1 + 1
    (key,) = said["keys"]
    assert stand_alone(member(file, "verify.py"), str(file), "--key", key[:16])[0] == 0
    code, said = stand_alone(member(file, "verify.py"), str(file), "--key", "ab" * 8)
    assert code == 1
    assert "sealed with another key" in said["faults"][0]

    names = set(ZipFile(file).namelist())
    assert {f"images/{id_}.png" for id_ in lot} <= names
    assert {
        f"{kind}/{id_}.{end}" for id_ in lot[:3] for kind, end in (("maps", "png"), ("overlays", "jpg"))
    } <= names
    overlay = Image.open(io.BytesIO(member(file, f"overlays/{lot[1]}.jpg")))
    assert min(overlay.size) >= 64
    assert not list(tmp_path.glob(".lot.zip*"))
    with sessions() as session:
        handed_out = session.scalars(select(Event).where(Event.kind == "evidence.exported")).all()
    assert [(one.subject, one.detail["completeness"]["captured"]) for one in handed_out] == [(LOT, 5)]


def test_the_report_says_what_happened_and_lets_no_name_be_markup(lot: list[UUID], tmp_path: Path) -> None:
    export(output=tmp_path / "lot.zip", lot=LOT)
    page = member(tmp_path / "lot.zip", "report.html").decode()
    assert "<script" not in page
    assert "<img src=x>" not in page
    assert "overrule by r&amp;d" in page
    assert f'src="overlays/{lot[1]}.jpg"' in page
    assert all(str(id_) in page for id_ in lot)


def test_one_inspection_and_one_serial_are_found_too(lot: list[UUID], tmp_path: Path) -> None:
    export(output=tmp_path / "one.zip", inspection=str(lot[2]))
    export(output=tmp_path / "serial.zip", serial="<b>2</b>")
    for name in ("one.zip", "serial.zip"):
        found = verify.verify(str(tmp_path / name), [])
        assert found.faults == []
        assert found.about["completeness"]["captured"] == 1
        assert [one["id"] for one in found.facts["inspection"]] == [str(lot[2])]
        assert len(found.facts["review"]) == 1


def test_a_lost_image_is_stated_as_missing_and_the_rest_is_proved(
    lot: list[UUID], database: DatabaseSettings, tmp_path: Path
) -> None:
    (database.home / "images" / key_of(hashlib.sha256(picture(0)).hexdigest())).unlink()
    export(output=tmp_path / "lot.zip", lot=LOT)
    found = verify.verify(str(tmp_path / "lot.zip"), [])
    assert found.faults == []
    assert [one["file"] for one in found.about["missing"]] == [f"images/{lot[0]}.png"]


def let_go(engine: Engine, database: DatabaseSettings, verdict: str) -> list[Act]:
    """Do what the worker does in a night, a day after the images were stored."""
    with session_factory(engine).begin() as session:
        policy.set_rule(session, "tile", verdict, policy.Terms(rows_days=30), "engineer", "storage")
    seal_all(engine, LedgerSettings())
    done = list(acts.apply(engine, open_image_store(database), "retention", archive=False))
    assert [act.what for act in done][-1] == "rows"
    return done


def test_what_retention_let_go_of_a_lot_is_told_and_proved(
    engine: Engine,
    sessions: sessionmaker[Session],
    database: DatabaseSettings,
    stand_alone: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("db.retention.images.YOUNG", timedelta(days=-1))
    ids = make_lot(database, sessions, NOW - timedelta(days=400))
    act = let_go(engine, database, "ng")[-1]
    file = tmp_path / "part.zip"
    export(output=file, lot=LOT)
    code, said = stand_alone(member(file, "verify.py"), str(file))
    assert (code, said["faults"]) == (0, [])
    assert said["completeness"] == {
        "captured": 5, "judged": 1, "error": 1, "pending": 1, "let_go": 2, "overridden": 0,
    }  # fmt: skip
    (went,) = said["let_go"]
    assert (went["act"], went["product"], went["verdict"], went["inspections"]) == (
        str(act.id), "tile", "ng", 2,
    )  # fmt: skip
    assert f"<code>{act.id}</code>" in member(file, "report.html").decode()
    capsys.readouterr()
    lot_command(LOT)
    told = capsys.readouterr().out
    assert "1 pending, 2 let go" in told
    assert f"act {act.id}" in told

    with ZipFile(file) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    fewer = {**went, "inspections": 1}
    monkeypatch.chdir(tmp_path)
    relist(contents, let_go=[fewer], completeness={**said["completeness"], "captured": 4, "let_go": 1})
    found = verify.verify(str(packed(contents, tmp_path / "fewer.zip")), []).faults
    assert any("are not what the act says" in fault for fault in found)

    with sessions.begin() as session:
        failed = results.NewResult(
            ids[4], "error", None, None, None, "w", 3, NOW - timedelta(days=399), {}, [], "lost", None
        )
        results.record(session, [failed])
    for verdict in ("ok", "error"):
        let_go(engine, database, verdict)
    export(output=tmp_path / "whole.zip", lot=LOT)
    found_whole = verify.verify(str(tmp_path / "whole.zip"), [])
    assert found_whole.faults == []
    assert (found_whole.about["completeness"]["captured"], found_whole.about["inspections"]) == (5, {})
    lot_command(LOT)
    assert "retention has let all of them go" in capsys.readouterr().out
    with sessions() as session, pytest.raises(UserError, match="5 inspections of it went: `pyramidion lot"):
        filters.require_there(session, Filter(lot=LOT))
    assert audit(engine, Wanted()).bad == []
    hold(LOT, "claim 7")
    assert "5 of its inspections went before" in capsys.readouterr().out

    with engine.begin() as superuser:
        if engine.dialect.name == "sqlite":
            superuser.execute(text("DROP TRIGGER released_lots_no_update"))
        else:
            superuser.execute(text("SET LOCAL session_replication_role = replica"))
        superuser.execute(text("UPDATE released_lots SET inspections = 1 WHERE verdict = 'ng'"))
    assert [bad.id for bad in audit(engine, Wanted()).bad] == [str(act.id)]
    with pytest.raises(NotAsSealedError, match="released_lots says otherwise"):
        export(output=tmp_path / "forged.zip", lot=LOT)


def test_a_lot_is_counted_at_one_moment(
    lot: list[UUID],
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # What retention lets go between two of the queries would be counted twice.
    counts = lots.counts

    def counts_and_more(*args: Any, **wanted: Any) -> inspections.Counts:
        found = counts(*args, **wanted)
        with sessions.begin() as session:
            act = events.record(session, released.ACT, "retention", "tile")
            lots_let_go.add(session, act, [lots_let_go.Went(LOT, "tile", "ok", 1)])
        return found

    monkeypatch.setattr(lots, "counts", counts_and_more)
    lot_command(LOT, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["captured"], told["let_go"]) == (len(lot), 0)


def test_what_was_tampered_with_is_not_handed_out(lot: list[UUID], engine: Engine, tmp_path: Path) -> None:
    export(output=tmp_path / "before.zip", lot=LOT)
    with engine.begin() as superuser:
        if engine.dialect.name == "sqlite":
            superuser.execute(text("DROP TRIGGER results_no_update"))
        else:
            superuser.execute(text("SET LOCAL session_replication_role = replica"))
        superuser.execute(text("UPDATE results SET score = 0.1 WHERE verdict = 'ok'"))
    with pytest.raises(NotAsSealedError, match=f"result {lot[0]} is not as it was sealed"):
        export(output=tmp_path / "after.zip", lot=LOT)
    assert [one.name for one in tmp_path.glob("*after.zip*")] == []


Contents = dict[str, bytes]
WAYS: dict[str, tuple[Callable[[Contents], None], str]] = {}


def way(why: str) -> Callable[[Callable[[Contents], None]], None]:
    def note(do: Callable[[Contents], None]) -> None:
        WAYS[do.__name__] = (do, why)

    return note


def one(contents: Contents, start: str) -> str:
    return next(name for name in sorted(contents) if name.startswith(start))


def relist(contents: Contents, **changes: Any) -> None:
    """Make the statement fit what the file holds, and sign it with a key of the tamperer's own."""
    statement = json.loads(contents["evidence.json"])
    statement["files"] = {
        name: hashlib.sha256(data).hexdigest()
        for name, data in contents.items()
        if name not in {"evidence.json", "evidence.sig"}
    }
    contents["evidence.json"] = json.dumps({**statement, **changes}).encode()
    contents["evidence.sig"] = make_key(Path("theirs.pem")).sign(contents["evidence.json"]).hex().encode()


def edit(contents: Contents, name: str, before: bytes, after: bytes) -> None:
    assert before in contents[name]
    contents[name] = contents[name].replace(before, after, 1)


@way("was changed")
def an_image_is_changed(c: Contents) -> None:
    c[one(c, "images/")] = picture(99)


@way("was changed")
def an_overlay_is_changed(c: Contents) -> None:
    c[one(c, "overlays/")] += b"x"


@way("report.html was changed")
def the_report_is_changed(c: Contents) -> None:
    edit(c, "report.html", b"overrule", b"confirm")


@way("was taken out")
def a_map_is_taken_out(c: Contents) -> None:
    del c[one(c, "maps/")]


@way("was added")
def a_file_is_added(c: Contents) -> None:
    c["notes.txt"] = b"all is well"


@way("evidence.json is not what was signed")
def a_count_is_changed(c: Contents) -> None:
    edit(c, "evidence.json", b'"error": 1', b'"error": 0')


@way("is not what was sealed")
def a_score_is_changed_and_all_listed_anew(c: Contents) -> None:
    edit(c, "facts.jsonl", b'"score":0.9', b'"score":0.4')
    relist(c)


@way("is not what was sealed")
def an_image_is_changed_and_all_listed_anew(c: Contents) -> None:
    c[one(c, "images/")] = picture(99)
    relist(c)


@way("is not what was signed")
def a_root_is_changed_to_fit(c: Contents) -> None:
    heads = [json.loads(line) for line in c["heads.jsonl"].splitlines()]
    heads[0]["root"] = "0" * 64
    c["heads.jsonl"] = b"".join(json.dumps(head).encode() + b"\n" for head in heads)
    relist(c)


@way("evidence.json is not what was signed")
def a_part_is_left_out_and_all_listed_anew(c: Contents) -> None:
    facts, proofs = c["facts.jsonl"].splitlines(keepends=True), c["proofs.jsonl"].splitlines(keepends=True)
    gone = next(i for i, line in enumerate(facts) if b'"verdict":"error"' in line)
    c["facts.jsonl"] = b"".join(facts[:gone] + facts[gone + 1 :])
    c["proofs.jsonl"] = b"".join(proofs[:gone] + proofs[gone + 1 :])
    counts = json.loads(c["evidence.json"])["completeness"]
    relist(c, completeness={**counts, "error": 0, "pending": 2})


@way("completeness says")
def a_review_is_left_out(c: Contents) -> None:
    facts, proofs = c["facts.jsonl"].splitlines(keepends=True), c["proofs.jsonl"].splitlines(keepends=True)
    gone = next(i for i, line in enumerate(facts) if b'"verdict":"overrule"' in line)
    c["facts.jsonl"] = b"".join(facts[:gone] + facts[gone + 1 :])
    c["proofs.jsonl"] = b"".join(proofs[:gone] + proofs[gone + 1 :])


@way("stands here twice")
def a_fact_is_doubled(c: Contents) -> None:
    for name in ("facts.jsonl", "proofs.jsonl"):
        c[name] += c[name].splitlines(keepends=True)[0]
    relist(c)


@way("another public key than its id says")
def the_key_is_replaced_under_its_id(c: Contents) -> None:
    key = json.loads(c["keys.jsonl"])
    key["public_key"] = make_key(Path("theirs.pem")).public_key.hex()
    c["keys.jsonl"] = json.dumps(key).encode() + b"\n"
    relist(c)


@way("outside its time")
def the_key_was_not_yet_there(c: Contents) -> None:
    edit(c, "keys.jsonl", b'"introduced_at": "2026', b'"introduced_at": "2099')


@way("not in the form of evidence")
def the_statement_is_no_json(c: Contents) -> None:
    c["evidence.json"] = b"{"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {}


@pytest.fixture
def contents(request: pytest.FixtureRequest, good: dict[str, Path], tmp_path_factory: Any) -> Contents:
    """What a good evidence file holds; it is made once."""
    if not good:
        database = request.getfixturevalue("single_machine")
        good["file"] = tmp_path_factory.mktemp("evidence") / "lot.zip"
        assert database is not None
        export(output=good["file"], lot=LOT)
    with ZipFile(good["file"]) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(contents: Contents, file: Path) -> Path:
    with ZipFile(file, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return file


@pytest.mark.parametrize("name", sorted(WAYS))
def test_tampering_with_the_file_is_found(
    name: str, contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    do, why = WAYS[name]
    do(contents)
    try:
        faults = verify.verify(str(packed(contents, tmp_path / "tampered.zip")), []).faults
    except verify.NoEvidenceError as error:
        faults = [str(error)]
    assert any(why in fault for fault in faults), faults


def test_evidence_that_is_cut_is_told_so(contents: Contents, stand_alone: Any, tmp_path: Path) -> None:
    whole = packed(contents, tmp_path / "whole.zip").read_bytes()
    assert verify.verify(str(tmp_path / "whole.zip"), []).faults == []
    for end in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.zip").write_bytes(whole[:end])
        code, said = stand_alone(contents["verify.py"], str(tmp_path / "cut.zip"))
        assert code == 1
        assert "cut or damaged, ask for it again" in said["faults"][0]
    code, said = stand_alone(contents["verify.py"], str(tmp_path / "nowhere.zip"))
    assert (code, "no such file" in said["faults"][0]) == (1, True)


def test_where_there_is_no_room_nothing_is_left(
    no_room_beyond: Any, single_machine: list[UUID], tmp_path: Path, home: Path
) -> None:
    seal()  # so that only the file itself has to be written
    folder = tmp_path / "full"
    folder.mkdir()
    with no_room_beyond(33_000), pytest.raises(UserError, match=r"cannot write .*Nothing was left there"):
        export(output=folder / "lot.zip", lot=LOT)
    assert list(folder.iterdir()) == []


def test_a_mistake_is_answered_with_a_sentence(single_machine: list[UUID], tmp_path: Path) -> None:
    (tmp_path / "there.zip").touch()
    for words, said in (
        ({"lot": "L8"}, "no inspection has lot 'L8'"),
        ({}, "one of --lot, --serial and --inspection"),
        ({"lot": LOT, "serial": "1"}, "one of --lot, --serial and --inspection"),
        ({"lot": LOT, "output": tmp_path / "there.zip"}, "is there already"),
        ({"lot": LOT, "output": tmp_path / "nowhere" / "lot.zip"}, "there is no folder"),
        ({"inspection": "zz"}, "can't begin an inspection's id"),
    ):
        with pytest.raises((UserError, NothingThereError), match=said):
            export(**{"output": tmp_path / "lot.zip", **words})
    assert not list(tmp_path.glob("*lot.zip*"))
