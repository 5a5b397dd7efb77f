"""What has changed in configs: a config.json of an older version is read through these tables.

A user who types an old name is told the new one.
"""

from videodit.config.errors import ConfigError

RENAMED = {  # old name: new name
    "data.tasks": "data.modes",
    "data.sampling": "data.views",
    "data.rows_per_window": "data.rows_per_group",
}

ADDED = {"dit.places": False}  # fields that change a model: what runs from before they existed have


def new_name(name: str) -> str:
    """The new name of the field `name`; "" if it was not renamed."""
    for old, new in RENAMED.items():
        if name == old or name.startswith(old + "."):
            return new + name.removeprefix(old)
    return ""


def refuse_old_name(name: str) -> None:
    """Raises ConfigError if the field `name` was renamed."""
    if new_name(name):
        raise ConfigError(f"{name} is now called {new_name(name)}")


def with_new_names(values: dict) -> dict:
    """Nested dicts of a config.json with every old name replaced by the new one.

    Raises ConfigError if a field is there under both names.
    """
    values = {k: dict(v) if isinstance(v, dict) else v for k, v in values.items()}
    for old, new in RENAMED.items():
        section, _, name = old.rpartition(".")
        if name not in _fields(values, section):
            continue
        moved = _fields(values, section).pop(name)
        section, _, name = new.rpartition(".")
        if name in _fields(values, section):
            raise ConfigError(f"{old} is now called {new}: expected one of the two, not both")
        _fields(values, section)[name] = moved
    return values


def with_new_fields(values: dict) -> dict:
    """Nested dicts of a config.json with the fields of ADDED that it lacks."""
    values = {k: dict(v) if isinstance(v, dict) else v for k, v in values.items()}
    for name, value in ADDED.items():
        section, _, name = name.rpartition(".")
        _fields(values, section).setdefault(name, value)
    return values


def _fields(values: dict, section: str) -> dict:
    """The fields of a section; those of the whole config for ""."""
    fields = values.setdefault(section, {}) if section else values
    return fields if isinstance(fields, dict) else {}
