"""Settings as people see them: what is in force, where it comes from, and never a secret."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from db.settings import ENV_PREFIX, Settings, SettingsError, is_secret, read_config_file, redacted

Source = Literal["environment", "secret file", "configuration file", "default"]
Classes = Mapping[str, type[Settings]]  # by the heading under which they are shown
HIDDEN: Final = "***"


@dataclass(frozen=True)
class Setting:
    """One setting; `value` is what is in force, never a secret, and `source` where it was found."""

    group: str
    name: str
    default: str
    value: str
    description: str
    source: Source


@dataclass(frozen=True)
class Shown:
    """All settings that can be read, and by group what is wrong with those that can't."""

    settings: list[Setting] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)


def shown(classes: Classes) -> Shown:
    """Read the settings of all classes; raises SettingsError only for a file that can't be read at all."""
    found = Shown()
    in_file = set(read_config_file())
    for group, fields in _by_group(classes).items():
        try:
            in_force = classes[group]()
        except SettingsError as error:
            found.wrong[group] = str(error)
            continue
        for name, one in fields.items():
            value = _plain(getattr(in_force, name))
            source = _source(name, one, in_file)
            found.settings.append(Setting(group, name, default(one), value, one.description or "", source))
    return found


def fields(classes: Classes) -> Iterator[tuple[str, str, FieldInfo]]:
    """Give group, name and field of each setting; one that two rooms read stands with the first."""
    for group, named in _by_group(classes).items():
        for name, one in named.items():
            yield group, name, one


def default(one: FieldInfo) -> str:
    return "" if one.default_factory is not None or one.default is None else str(one.default)


def variable(name: str) -> str:
    return f"{ENV_PREFIX}{name.upper()}"


def _by_group(classes: Classes) -> dict[str, dict[str, FieldInfo]]:
    seen: set[str] = set()
    found = {}
    for group, one in classes.items():
        found[group] = {name: at for name, at in one.model_fields.items() if name not in seen}
        seen |= set(found[group])
    return found


def _source(name: str, one: FieldInfo, in_file: set[str]) -> Source:
    set_ = {key.upper() for key, value in os.environ.items() if value}
    if variable(name) in set_:
        return "environment"
    if is_secret(one) and f"{variable(name)}_FILE" in set_:
        return "secret file"
    return "configuration file" if name in in_file else "default"


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        return redacted(text) if "://" in text else HIDDEN
    return "" if value is None else str(value)
