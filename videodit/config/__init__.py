"""What can be configured: frozen dataclasses, their defaults, and their checks. Imports no jax.

An experiment is a file in configs/ whose `get_config(arg)` takes `defaults()` (an ml_collections
ConfigDict of everything below) and changes fields; the command line overrides single fields
(`--config.optim.learning_rate=1e-3`); `from_config_dict` makes the typed, checked `Config`.
Functions of the project take the piece they need (`cfg.optim`), never the root.

  errors    mistakes that a user can mend
  exits     exit statuses, and after which a run is started again
  data      sources, rows, modes of given tokens, views of clips
  models    autoencoder, text encoder, DiT
  tasks     the tasks by name, and the sections of the config that are theirs alone
  run       optimizer, number formats, mesh, and the whole config
  renamed   fields that have moved
  reading   to and from ConfigDicts and config.json
"""

from videodit.config.data import SYNTHETIC, DataConfig, ModeWeights, Table, ViewConfig
from videodit.config.errors import (
    ConfigError,
    check,
    check_positive,
    nearest,
    one_line,
    refuse,
    shortened,
)
from videodit.config.models import RANDOM, AutoencoderConfig, DiTConfig, TextConfig
from videodit.config.reading import (
    Changes,
    changed,
    check_field,
    defaults,
    differences,
    from_config_dict,
    from_saved,
    to_dict,
    to_json,
)
from videodit.config.renamed import refuse_old_name
from videodit.config.run import ComputeConfig, Config, MeshConfig, OptimConfig
from videodit.config.tasks import (
    MULTISCALE,
    SOLVERS,
    FlowConfig,
    LossConfig,
    SampleConfig,
    TaskConfig,
    check_fps,
    find_task,
    parse_size,
    register_task,
)

__all__ = [
    "MULTISCALE",
    "RANDOM",
    "SOLVERS",
    "SYNTHETIC",
    "AutoencoderConfig",
    "Changes",
    "ComputeConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "DiTConfig",
    "FlowConfig",
    "LossConfig",
    "MeshConfig",
    "ModeWeights",
    "OptimConfig",
    "SampleConfig",
    "Table",
    "TaskConfig",
    "TextConfig",
    "ViewConfig",
    "changed",
    "check",
    "check_field",
    "check_fps",
    "check_positive",
    "defaults",
    "differences",
    "find_task",
    "from_config_dict",
    "from_saved",
    "nearest",
    "one_line",
    "parse_size",
    "refuse",
    "refuse_old_name",
    "register_task",
    "shortened",
    "to_dict",
    "to_json",
]
