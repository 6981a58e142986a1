"""Every setting is documented, and the page says what the code says."""

from pathlib import Path

import pytest

from pyramidion import all_settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_the_page_is_what_the_code_says(home: Path) -> None:
    assert PAGE.read_text(encoding="utf-8") == all_settings.markdown(), (
        "run `pyramidion settings --markdown > docs/settings.md`"
    )


def test_every_setting_has_a_description_for_people() -> None:
    for one in all_settings.CLASSES.values():
        for name, field in one.model_fields.items():
            assert field.description, f"{one.__name__}.{name}"
            assert field.description.endswith((".", ")")), f"{one.__name__}.{name}"


def test_a_misspelt_name_is_found(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRAMIDION_BATCH_IMAGE", "7")
    (tmp_path / "pyramidion.toml").write_text('hoem = "/tmp"\nmap_bits = 16\n', encoding="utf-8")
    found = all_settings.unknown_names()
    assert found[0] == "PYRAMIDION_BATCH_IMAGE"
    assert found[1].startswith("hoem")
    assert len(found) == 2


def test_only_secrets_may_come_from_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRAMIDION_BROKER_URL_FILE", "/run/secrets/broker_url")
    monkeypatch.setenv("PYRAMIDION_MAP_BITS_FILE", "/run/map_bits")
    assert all_settings.unknown_names() == ["PYRAMIDION_MAP_BITS_FILE"]


def test_a_setting_that_two_rooms_read_is_listed_once(home: Path) -> None:
    names = [one.name for one in all_settings.settings()]
    assert len(names) == len(set(names))
    for name in names:
        defaults = [
            one.model_fields[name].default
            for one in all_settings.CLASSES.values()
            if name in one.model_fields
        ]
        assert len(set(map(str, defaults))) == 1, name


def test_no_secret_is_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRAMIDION_BROKER_URL", "redis://:hidden@127.0.0.1:6379/0")
    monkeypatch.setenv("PYRAMIDION_S3_SECRET_ACCESS_KEY", "hidden-too")
    shown = " ".join(f"{one.name}={one.value}" for one in all_settings.settings())
    assert "redis://:***@127.0.0.1:6379/0" in shown
    assert "hidden" not in shown
