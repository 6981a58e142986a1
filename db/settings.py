"""What the database and the image store can be told from outside, and the base of every room's settings."""

import os
import tomllib
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

ENV_PREFIX = "PYRAMIDION_"
DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
}
SECRET_QUERY_KEYS = {"password", "sslpassword"}  # libpq takes them in the URL's query as well


class SettingsError(Exception):
    """A setting is wrong; the message names it, its value unless that is a secret, and the cure."""


class Settings(BaseSettings):
    """Common base of every room's settings.

    Sources, strongest first: arguments, PYRAMIDION_* variables, files named by PYRAMIDION_*_FILE (secrets
    only), the TOML file. Raises SettingsError for a wrong value, whichever source it came from.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,  # compose files hand down unset variables as empty ones
        extra="ignore",  # one file serves every room: each class takes the keys that are its own
        hide_input_in_errors=True,  # a mistyped secret must not end in a log
        validate_default=True,
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_explain(type(self), error)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings  # one file format is enough; secrets are named file by file
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, _secret_files(settings_cls)),
            InitSettingsSource(settings_cls, read_config_file()),
        )


class DatabaseSettings(Settings):
    """Where rows and images are kept."""

    home: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("pyramidion"),
        description="Folder of everything a single machine keeps: database, images, spool, models, keys. "
        "Unset: the platform's data folder.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="Database to keep inspections in, such as postgresql://user:password@host/pyramidion. "
        "Unset: the file pyramidion.db in the home folder.",
    )
    database_pool_size: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Database connections that one process keeps open, a scoring worker and the page twice "
        "as many; under load up to ten more of either kind.",
    )
    postgres_bin: Path | None = Field(
        default=None,
        description="Folder of PostgreSQL's pg_dump and pg_restore, for backups. Unset: those on the PATH.",
    )
    retention_archive: bool = Field(
        default=False,
        description="Keep rows that retention lets go in the schema `archive` of the database: whole months "
        "as the tables they were, what goes alone, and reviews, in its table `rows`. Images and maps are not "
        "kept. PostgreSQL only: on SQLite, where a rule has terms for rows, nothing goes while this is set.",
    )
    sqlite_busy_timeout_s: float = Field(
        default=30, gt=0, le=3600, description="Seconds that a writer waits for another one, on SQLite."
    )
    image_store_url: SecretStr | None = Field(
        default=None,
        description="Where images are kept: file:///folder, s3://bucket/prefix, or memory:// (for tests). "
        "Unset: the folder images in the home folder.",
    )
    image_store_endpoint: str | None = Field(
        default=None,
        description="Address of an S3-compatible store, such as https://s3.plant.example:9000. Unset: AWS.",
    )
    s3_region: str | None = Field(
        default=None, description="Region of the bucket. Unset: AWS_REGION, else us-east-1."
    )
    s3_access_key_id: SecretStr | None = Field(
        default=None, description="Access key of the S3 store. Unset: AWS's own variables, profile or role."
    )
    s3_secret_access_key: SecretStr | None = Field(
        default=None, description="Secret that belongs to the access key of the S3 store."
    )

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    def url(self) -> URL:
        """Give the database's URL with its driver; raises SettingsError for a URL that nobody here speaks."""
        if self.database_url is None:
            return URL.create("sqlite", database=str(self.home / "pyramidion.db"))
        try:
            url = make_url(self.database_url.get_secret_value())
        except (ArgumentError, ValueError):
            raise SettingsError(
                "PYRAMIDION_DATABASE_URL is not a URL; write postgresql://user:password@host/name, with "
                "special characters in the password percent-encoded"
            ) from None
        if url.drivername not in DRIVERS:
            raise SettingsError(
                f"PYRAMIDION_DATABASE_URL names {url.drivername!r}; Pyramidion speaks sqlite:/// and postgresql://"
            )
        if DRIVERS[url.drivername] == "sqlite" and url.database in {None, "", ":memory:"}:
            raise SettingsError(
                "PYRAMIDION_DATABASE_URL names an SQLite database in memory, which other processes "
                "can't see; name a file: sqlite:////folder/pyramidion.db"
            )
        return url.set(drivername=DRIVERS[url.drivername])


def redacted(url: URL | str) -> str:
    """Give a URL (of a database, a broker, a store) that may be shown: passwords become ***."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "(unreadable URL)"
    hidden = {key: "***" for key in parsed.query if key.lower() in SECRET_QUERY_KEYS}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


def config_file() -> Path | None:
    """Give the TOML file in force: $PYRAMIDION_CONFIG, else ./pyramidion.toml where it exists."""
    named = os.environ.get(f"{ENV_PREFIX}CONFIG")
    if named:
        return Path(named).expanduser()
    here = Path("pyramidion.toml")
    return here if here.is_file() else None


def read_config_file() -> dict[str, Any]:
    """Read the TOML file in force, nothing where there is none; raises SettingsError."""
    file = config_file()
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"cannot read {file}: {error.strerror}; correct or unset PYRAMIDION_CONFIG"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not TOML: {error}") from None


def _secret_files(settings: type[BaseSettings]) -> dict[str, str]:
    found = {}
    for name, field in settings.model_fields.items():
        variable = f"{ENV_PREFIX}{name.upper()}_FILE"
        file = os.environ.get(variable)
        if not file or not is_secret(field):
            continue
        try:
            found[name] = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SettingsError(
                f"{variable} names {file}, which can't be read: {reason}; correct or unset it"
            ) from None
    return found


def is_secret(field: FieldInfo) -> bool:
    return "SecretStr" in str(field.annotation)


def _explain(settings: type[BaseSettings], error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        field = settings.model_fields.get(name)
        value = "" if field is None or is_secret(field) else f"={problem['input']!r}"
        hint = f" ({field.description})" if field is not None and field.description else ""
        lines.append(f"{ENV_PREFIX}{name.upper()}{value}: {problem['msg']}{hint}")
    return "\n".join(lines)
