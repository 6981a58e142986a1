"""Every setting there is: for the reference page, for `pyramidion settings`, and to find misspelt names."""

import os
from collections.abc import Iterator

from capture.settings import CaptureSettings
from db import settings_shown
from db.approvals import ApprovalSettings
from db.ledger.settings import LedgerSettings
from db.settings import (
    ENV_PREFIX,
    DatabaseSettings,
    Settings,
    SettingsError,
    config_file,
    is_secret,
    read_config_file,
)
from db.settings_shown import Setting
from web.settings import WebSettings
from workers.drift_settings import DriftSettings
from workers.settings import WorkerSettings
from workers.snapshot_settings import SnapshotSettings

PREFIX = ENV_PREFIX
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


def settings() -> Iterator[Setting]:
    """Give all settings with what is in force; raises db.settings.SettingsError for a wrong one."""
    found = settings_shown.shown(CLASSES)
    if found.wrong:
        raise SettingsError("\n".join(found.wrong.values()))
    yield from found.settings


def unknown_names() -> list[str]:
    """Give PYRAMIDION_* variables and keys of the TOML file that no setting reads: most are misspelt.

    Raises db.settings.SettingsError for a file that cannot be read.
    """
    known = {name for _, name, _ in settings_shown.fields(CLASSES)}
    understood = {PREFIX + name.upper() for name in known}
    understood |= {
        f"{PREFIX}{name.upper()}_FILE"
        for _, name, field in settings_shown.fields(CLASSES)
        if is_secret(field)
    }
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
    for group, name, field in settings_shown.fields(CLASSES):
        if group != last:
            last = group
            lines += ["", f"## {group}", "", "| setting | default | what it says |", "|---|---|---|"]
        secret = " (secret)" if is_secret(field) else ""
        default = f"`{settings_shown.default(field)}`" if settings_shown.default(field) else "unset"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description}{secret} |")
    return "\n".join(lines) + "\n"
