"""Settings: which source wins, what is refused, and that secrets stay secret."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from db.settings import DatabaseSettings, Settings, SettingsError, redacted

URL = "postgresql://ada:s3cr3t@db.example/parts"


def test_state_lives_in_the_home(home: Path) -> None:
    settings = DatabaseSettings()
    assert settings.home == home
    assert settings.url().render_as_string() == f"sqlite:///{home}/pyramidion.db"


def test_without_a_home_it_is_the_data_folder_of_the_platform(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PYRAMIDION_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert DatabaseSettings().home == tmp_path / "pyramidion"


def test_a_home_is_made_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert DatabaseSettings(home="~/parts").home == Path("/home/ada/parts")
    assert DatabaseSettings(home="parts").home == Path.cwd() / "parts"


def test_arguments_win_over_environment_over_secret_file_over_toml(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def endpoint() -> str | None:
        return DatabaseSettings().image_store_endpoint

    def key() -> str:
        secret = DatabaseSettings().s3_access_key_id
        return "" if secret is None else secret.get_secret_value()

    (tmp_path / "pyramidion.toml").write_text('image_store_endpoint = "toml"\ns3_access_key_id = "toml"\n')
    assert (endpoint(), key()) == ("toml", "toml")
    secret = tmp_path / "secret"
    secret.write_text("file\n")
    monkeypatch.setenv("PYRAMIDION_S3_ACCESS_KEY_ID_FILE", str(secret))
    assert key() == "file"
    monkeypatch.setenv("PYRAMIDION_S3_ACCESS_KEY_ID", "environment")
    monkeypatch.setenv("PYRAMIDION_IMAGE_STORE_ENDPOINT", "environment")
    assert (endpoint(), key()) == ("environment", "environment")
    assert DatabaseSettings(image_store_endpoint="argument").image_store_endpoint == "argument"
    monkeypatch.setenv("PYRAMIDION_IMAGE_STORE_ENDPOINT", "")  # compose files hand down unset ones like this
    assert endpoint() == "toml"


def test_a_toml_file_elsewhere_serves_every_room(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class RoomSettings(Settings):
        lamps: int = Field(default=1, description="Lamps.")

    file = tmp_path / "elsewhere.toml"
    file.write_text("lamps = 3\ndatabase_pool_size = 7\n")
    (tmp_path / "pyramidion.toml").write_text("lamps = 2\n")
    assert RoomSettings().lamps == 2
    monkeypatch.setenv("PYRAMIDION_CONFIG", str(file))
    assert (RoomSettings().lamps, DatabaseSettings().database_pool_size) == (3, 7)


@pytest.mark.parametrize(
    ("content", "reason"), [("lamps = ", "is not TOML"), (b"\xff", "is not TOML"), (None, "No such")]
)
def test_a_config_file_that_cannot_be_read_is_named(
    content: str | bytes | None, reason: str, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "broken.toml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("PYRAMIDION_CONFIG", str(file))
    with pytest.raises(SettingsError, match=f"broken.toml.*{reason}"):
        DatabaseSettings()


def test_a_secret_file_that_is_not_there_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRAMIDION_DATABASE_URL_FILE", "/run/secrets/none")
    with pytest.raises(SettingsError, match="PYRAMIDION_DATABASE_URL_FILE names /run/secrets/none"):
        DatabaseSettings()


def test_only_secrets_come_from_files(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYRAMIDION_DATABASE_POOL_SIZE_FILE", str(tmp_path / "none"))
    assert DatabaseSettings().database_pool_size == 5


def test_secrets_are_not_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRAMIDION_DATABASE_URL", URL)
    monkeypatch.setenv("PYRAMIDION_S3_SECRET_ACCESS_KEY", "s3cr3t")
    settings = DatabaseSettings()
    shown = [repr(settings), str(settings), settings.model_dump_json(), repr(settings.url())]
    assert not [text for text in shown if "s3cr3t" in text]
    assert settings.url().password == "s3cr3t"


def test_a_wrong_value_is_named_with_its_variable_unless_it_is_secret(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYRAMIDION_DATABASE_POOL_SIZE", "many")
    (tmp_path / "pyramidion.toml").write_text("s3_access_key_id = 424242\n")
    with pytest.raises(SettingsError) as caught:
        DatabaseSettings()
    assert "PYRAMIDION_DATABASE_POOL_SIZE='many'" in str(caught.value)
    assert "PYRAMIDION_S3_ACCESS_KEY_ID:" in str(caught.value)
    assert "424242" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_spoken_through_psycopg(scheme: str, home: Path) -> None:
    settings = DatabaseSettings(database_url=SecretStr(URL.replace("postgresql", scheme)))
    assert settings.url().drivername == "postgresql+psycopg"
    assert settings.url().host == "db.example"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://ada:s3cr3t@db/parts", "'mysql'"),
        ("postgresql+asyncpg://ada:s3cr3t@db/parts", r"'postgresql\+asyncpg'"),
        ("s3cr3t", "is not a URL"),
        ("postgresql://ada:s3cr3t@db:port/parts", "is not a URL"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
    ],
)
def test_other_databases_are_refused_without_showing_the_password(url: str, reason: str, home: Path) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        DatabaseSettings(database_url=SecretStr(url)).url()
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "postgresql://ada:***@db.example/parts"),
        (
            "postgresql:///parts?host=/run&password=s3cr3t",
            "postgresql:///parts?host=%2Frun&password=%2A%2A%2A",
        ),
        ("redis://:s3cr3t@broker:6379/0", "redis://:***@broker:6379/0"),
        ("sqlite:////srv/parts.db", "sqlite:////srv/parts.db"),
        ("s3cr3t", "(unreadable URL)"),
    ],
)
def test_a_redacted_url_keeps_what_may_be_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_every_setting_is_described() -> None:
    assert [name for name, field in DatabaseSettings.model_fields.items() if not field.description] == []
