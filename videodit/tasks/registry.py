"""The tasks by name: `config.task` is one of them.

A task outside of this package registers itself, with its own section of the config, when its module
is imported, for example by a file in configs/:

    register("toy", ToyTask, TaskConfig({"toy": ToyConfig}, model=("toy",)))
"""

from collections.abc import Callable

from videodit.config import Config, ConfigError, TaskConfig, find_task, register_task
from videodit.data.tokenizer import Tokenizer
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.diffusion import DiffusionTask
from videodit.tasks.task import Task, is_generative

TASKS: dict[str, type[Task]] = {}


def register(name: str, task: type[Task], config: TaskConfig | None = None) -> None:
    """From now on configs may name the task.

    `config`: None if the package config has it already. Raises ValueError for a name that is taken.
    """
    if config:
        taken = config.sections.keys() & Config.__dataclass_fields__.keys()
        if taken:
            raise ValueError(f"task {name!r}: every config has a field {min(taken)!r} already")
        register_task(name, config)
    find_task(name)
    TASKS[name] = task


def task_class(cfg: Config) -> type[Task]:
    """The class of the task that a config names. Raises ConfigError if its module is missing."""
    if cfg.task not in TASKS:
        raise ConfigError(f"task={cfg.task!r}: expected one of {', '.join(TASKS)}")
    return TASKS[cfg.task]


def make_task(cfg: Config, tokenizer: Tokenizer) -> Task:
    """The task that a config names; `cfg`: as tasks/resolve.py gives it."""
    return task_class(cfg)(cfg, tokenizer)


def is_task(cfg: Config, kind: type[Task]) -> bool:
    """Whether a config is of this task."""
    return issubclass(task_class(cfg), kind)


def expect_task(cfg: Config, kind: type[Task], field: str, value: object) -> None:
    """Raises ConfigError naming the flag or field and its value unless `cfg` is of this task."""
    _expect(cfg, lambda task: issubclass(task, kind), field, value)


def expect_generative(cfg: Config, field: str, value: object) -> None:
    """Raises ConfigError naming the flag or field and its value unless `cfg`'s task makes clips."""
    _expect(cfg, is_generative, field, value)


def _expect(cfg: Config, good: Callable[[type[Task]], bool], field: str, value: object) -> None:
    if not good(task_class(cfg)):
        expected = " or ".join(name for name, task in TASKS.items() if good(task))
        raise ConfigError(
            f"{field}={str(value)!r}: expected a run of task {expected}, not {cfg.task}"
        )


register("autoencoder", AutoencoderTask)
register("diffusion", DiffusionTask)
