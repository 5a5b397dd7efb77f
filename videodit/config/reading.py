"""From an ml_collections ConfigDict, or the text of a config.json, to a typed Config and back."""

import dataclasses
import json
import math
import re
import typing
from typing import Any

from ml_collections import ConfigDict

from videodit.config.errors import ConfigError, check, nearest
from videodit.config.renamed import refuse_old_name, with_new_fields, with_new_names
from videodit.config.run import Config
from videodit.config.tasks import find_task, sections

LARGEST = {bool: 2, int: 2**32, float: math.inf}  # no number is as large; NaN is not below either
Changes = dict[str, Any]  # fields by dotted names, and their new values


def defaults() -> ConfigDict:
    """Every field at its default, as the ConfigDict that a file in configs/ starts from."""
    return ConfigDict(to_dict(Config()))


def from_config_dict(config: ConfigDict) -> Config:
    """The typed config. Raises ConfigError naming an unknown field, a wrong type or a bad value."""
    return _build_config(config.to_dict())


def to_dict(cfg: Config) -> dict:
    """Nested plain dicts of `cfg`, each section of a task beside the others."""
    values = dataclasses.asdict(dataclasses.replace(cfg, sections={}))
    del values["sections"]
    return values | {name: dataclasses.asdict(part) for name, part in cfg.sections.items()}


def to_json(cfg: Config) -> str:
    """The text of a run's config.json: `cfg` without the sections of other tasks than its own."""
    others = sections().keys() - find_task(cfg.task).sections.keys()
    values = {name: value for name, value in to_dict(cfg).items() if name not in others}
    return json.dumps(values, indent=2) + "\n"


def from_saved(values: dict) -> Config:
    """The config of the fields that `to_json` wrote, now or in an older version (renamed.py).

    Raises ConfigError as `from_config_dict` does.
    """
    return _build_config(with_new_fields(with_new_names(values)))


def changed(cfg: Config, changes: Changes) -> Config:
    """`cfg` with other values of some fields. Raises ConfigError as `from_config_dict` does."""
    config = ConfigDict(to_dict(cfg))
    config.update_from_flattened_dict(changes)
    return from_config_dict(config)


def differences(a: Config, b: Config, parts: tuple[str, ...]) -> list[str]:
    """Fields of the named parts in which two configs differ: "part.field: a's, b's value"."""
    flat_a, flat_b = (_flatten({part: to_dict(cfg)[part] for part in parts}) for cfg in (a, b))
    return [
        f"{name}: {flat_a[name]!r}, {flat_b[name]!r}"
        for name in flat_a
        if flat_a[name] != flat_b[name]
    ]


def _build_config(values: dict) -> Config:
    if isinstance(task := values.get("task", Config.task), str):
        find_task(task)  # first of all, as only a known task's sections are known
    hints = _field_types(Config) | sections()
    del hints["sections"]
    built = _converted(values, hints, "")
    own = {name: built.pop(name) for name in sections() if name in built}
    return Config(**built, sections=own)


def _field_types(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def check_field(name: str) -> None:
    """Raises ConfigError unless there is a field of this dotted name; "data.views.sides[0]" is one.

    Tasks are known once their modules are imported, as a file in configs/ does.
    """
    hints, prefix = _field_types(Config) | sections(), ""
    del hints["sections"]
    for part in re.sub(r"\[[^]]*\]", "", name).split("."):
        if part not in hints:
            refuse_old_name(prefix + part)
            hint = nearest(part, hints) if hints else f"{prefix[:-1]} has no fields"
            raise ConfigError(f"unknown field {prefix}{part}: {hint}")
        hint, prefix = hints[part], f"{prefix}{part}."
        group = isinstance(hint, type) and dataclasses.is_dataclass(hint)
        hints = _field_types(hint) if group else {}


def _converted(values: dict, hints: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The values of the fields that have these types. Raises ConfigError for an unknown field."""
    for name in values:
        if name not in hints:
            refuse_old_name(prefix + name)
            raise ConfigError(f"unknown field {prefix}{name}: {nearest(name, hints)}")
    return {name: _convert(hints[name], value, prefix + name) for name, value in values.items()}


def _convert(hint: Any, value: Any, name: str) -> Any:
    """The field's value in its type `hint`. Raises ConfigError naming a value of another type."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        check(isinstance(value, dict), name, value, "a group of fields")
        return hint(**_converted(value, _field_types(hint), name + "."))
    if typing.get_origin(hint) is tuple:
        return _convert_tuple(hint, value, name)
    accepted = (int, float) if hint is float else hint
    good = isinstance(value, accepted) and (hint is bool or not isinstance(value, bool))
    check(good, name, value, f"a {hint.__name__}")
    if not isinstance(value, str):
        check(
            abs(value) < LARGEST[hint], name, value, "a finite number, for whole numbers of 32 bits"
        )
    return hint(value)


def _convert_tuple(hint: Any, value: Any, name: str) -> tuple:
    check(isinstance(value, (tuple, list)), name, value, f"a {hint}")
    kinds = typing.get_args(hint)
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    check(len(value) == len(kinds), name, value, f"{len(kinds)} values")
    pairs = enumerate(zip(kinds, value))
    return tuple(_convert(kind, item, f"{name}[{i}]") for i, (kind, item) in pairs)


def _flatten(values: dict, prefix: str = "") -> dict:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = tuple(value) if isinstance(value, list) else value
    return flat
