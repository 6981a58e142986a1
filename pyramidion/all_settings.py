"""Every setting there is: for the reference page, for `pyramidion settings`, and to find misspelt names."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from capture.settings import CaptureSettings
from db.approvals import ApprovalSettings
from db.ledger.settings import LedgerSettings
from db.settings import DatabaseSettings, Settings, config_file, is_secret, read_config_file, redacted
from web.settings import WebSettings
from workers.drift_settings import DriftSettings
from workers.settings import WorkerSettings
from workers.snapshot_settings import SnapshotSettings

PREFIX = "PYRAMIDION_"
CLASSES: dict[str, type[Settings]] = {
    "Database and images": DatabaseSettings,
    "Queue and workers": WorkerSettings,
    "Drift": DriftSettings,
    "Training data": SnapshotSettings,
    "Ledger": LedgerSettings,
    "Reviews and signatures": ApprovalSettings,
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
    in_force = {group: one() for group, one in CLASSES.items()}
    for group, name, field in _fields():
        value = _shown(getattr(in_force[group], name))
        yield Setting(group, name, _default(field), value, field.description or "")


def _fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """Give group, name and field of each setting; one that two rooms read stands with the first."""
    seen: set[str] = set()
    for group, one in CLASSES.items():
        for name, field in one.model_fields.items():
            if name not in seen:
                seen.add(name)
                yield group, name, field


def _default(field: FieldInfo) -> str:
    return "" if field.default_factory is not None or field.default is None else str(field.default)


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        return redacted(text) if "://" in text else "***"
    return "" if value is None else str(value)


def unknown_names() -> list[str]:
    """Give PYRAMIDION_* variables and keys of the TOML file that no setting reads: most are misspelt.

    Raises db.settings.SettingsError for a file that cannot be read.
    """
    known = {name for _, name, _ in _fields()}
    understood = {PREFIX + name.upper() for name in known}
    understood |= {f"{PREFIX}{name.upper()}_FILE" for _, name, field in _fields() if is_secret(field)}
    variables = {name for name in os.environ if name.startswith(PREFIX)} - understood - {f"{PREFIX}CONFIG"}
    keys = set(read_config_file()) - known
    return sorted(variables) + sorted(f"{key} (in {config_file()})" for key in keys)


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
    last = ""
    for group, name, field in _fields():
        if group != last:
            last = group
            lines += ["", f"## {group}", "", "| setting | default | what it says |", "|---|---|---|"]
        secret = " (secret)" if is_secret(field) else ""
        default = f"`{_default(field)}`" if _default(field) else "unset"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description}{secret} |")
    return "\n".join(lines) + "\n"
