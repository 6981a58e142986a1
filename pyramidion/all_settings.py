"""Every setting there is: for the reference page, for `pyramidion settings`, and to find misspelt names."""

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from capture.settings import CaptureSettings
from db.settings import DatabaseSettings, Settings, config_file, redacted
from web.settings import WebSettings
from workers.settings import WorkerSettings

PREFIX = "PYRAMIDION_"
CLASSES: dict[str, type[Settings]] = {
    "Database and images": DatabaseSettings,
    "Queue and workers": WorkerSettings,
    "Stations": CaptureSettings,
    "Page": WebSettings,
}


@dataclass(frozen=True)
class Setting:
    """One setting as a person sees it; `value` is what is in force, never a secret."""

    group: str
    name: str
    default: str
    value: str
    description: str


def settings() -> Iterator[Setting]:
    """Give all settings with what is in force; raises db.settings.SettingsError for a wrong one."""
    for group, one in CLASSES.items():
        values = one()
        for name, field in one.model_fields.items():
            yield Setting(
                group, name, _default(field), _shown(getattr(values, name)), field.description or ""
            )


def _default(field: FieldInfo) -> str:
    return "" if field.default_factory is not None or field.default is None else str(field.default)


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        return redacted(text) if "://" in text else "***"
    return "" if value is None else str(value)


def unknown_names() -> list[str]:
    """Give PYRAMIDION_* variables and keys of the TOML file that no setting reads: most are misspelt."""
    known = {name for one in CLASSES.values() for name in one.model_fields}
    understood = {PREFIX + name.upper() for name in known} | {
        f"{PREFIX}{name.upper()}_FILE" for name in known
    }
    variables = {name for name in os.environ if name.startswith(PREFIX)} - understood - {f"{PREFIX}CONFIG"}
    file = config_file()
    keys = set(tomllib.loads(file.read_text(encoding="utf-8"))) - known if file is not None else set()
    return sorted(variables) + sorted(f"{key} (in {file})" for key in keys)


def markdown() -> str:
    """Write docs/settings.md; a test compares."""
    lines = [
        "# Settings",
        "",
        "Written by `pyramidion settings --markdown`; a test fails where it does not match the code.",
        "",
        "Each setting is an environment variable, or a key of the same name in lower case and without",
        "`PYRAMIDION_` in the TOML file that `PYRAMIDION_CONFIG` names (else in `./pyramidion.toml`). The",
        "environment wins. A secret may come from a file: `PYRAMIDION_DATABASE_URL_FILE` and the like",
        "name it. `pyramidion settings` shows what is in force, without secrets; `pyramidion doctor` names",
        "misspelt ones.",
    ]
    for group, one in CLASSES.items():
        lines += ["", f"## {group}", "", "| setting | default | what it says |", "|---|---|---|"]
        for name, field in one.model_fields.items():
            secret = " (secret)" if "SecretStr" in str(field.annotation) else ""
            default = f"`{_default(field)}`" if _default(field) else "unset"
            lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description}{secret} |")
    return "\n".join(lines) + "\n"
