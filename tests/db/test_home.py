"""What is made below PYRAMIDION_HOME is its owner's alone, whoever comes first."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.engine import make_engine
from db.home import private_folder
from db.imagestore import open_image_store
from db.migrate import upgrade
from db.settings import DatabaseSettings, SettingsError


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_all_folders_that_were_missing_are_private(tmp_path: Path) -> None:
    made = private_folder(tmp_path / "home" / "run" / "deep")
    assert [mode(one) for one in (made, made.parent, made.parent.parent)] == [0o700] * 3


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o750)
    assert mode(private_folder(shared)) == 0o750


def test_database_and_images_are_private(home: Path) -> None:
    settings = DatabaseSettings()
    engine = make_engine(settings)
    upgrade(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        assert {mode(file) for file in home.glob("pyramidion.db*")} == {0o600}
    engine.dispose()
    open_image_store(settings).put(b"image")
    assert mode(home) == mode(home / "images") == 0o700


@pytest.mark.parametrize("opener", [make_engine, open_image_store])
def test_a_home_that_cannot_be_is_a_wrong_setting(
    opener: object, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRAMIDION_HOME", "/proc/nope")
    with pytest.raises(SettingsError, match=r"/proc/nope.*PYRAMIDION_HOME"):
        opener(DatabaseSettings())  # type: ignore[operator]
