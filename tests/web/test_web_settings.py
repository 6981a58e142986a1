"""Settings that would leave the page open are refused."""

from pathlib import Path

import pytest

from db.settings import SettingsError
from web.settings import OpenBindError, WebSettings, refuse_open_bind

PASSWORD = "correct horse: battery"


def test_an_open_page_without_a_password_is_refused(home: Path) -> None:
    for host in ("127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"):
        refuse_open_bind(WebSettings(), host)
    for host in ("0.0.0.0", "::", "192.0.2.7", "plant.example", ""):
        with pytest.raises(OpenBindError, match="PYRAMIDION_WEB_PASSWORD"):
            refuse_open_bind(WebSettings(), host)
        refuse_open_bind(WebSettings.model_validate({"web_password": PASSWORD}), host)


def test_a_short_password_is_refused_without_being_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRAMIDION_WEB_PASSWORD", "secret")
    with pytest.raises(SettingsError, match="8 characters") as refused:
        WebSettings()
    assert "secret" not in str(refused.value)


def test_the_password_may_come_from_a_file(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    monkeypatch.setenv("PYRAMIDION_WEB_PASSWORD_FILE", str(tmp_path / "password"))
    settings = WebSettings()
    assert settings.web_password is not None
    assert settings.web_password.get_secret_value() == PASSWORD
    assert PASSWORD not in repr(settings)
