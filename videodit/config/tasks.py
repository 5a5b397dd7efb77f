"""What can be configured of each task: the tasks by name, and their own sections of a config.

A task's part of the config is registered before the task's code is imported, so that a config is
read and checked without jax. A task that is not in this folder registers its part with itself
(tasks/registry.py:register).
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

from videodit.config.errors import ConfigError, check, check_positive, shortened

FPS = (0.01, 1000.0)  # what an mp4 file can say
SOLVERS = ("euler", "heun")  # values of sample.solver: diffusion/samplers.py
MULTISCALE = "multiscale"  # value of losses.perceptual_features: no weights file


@dataclass(frozen=True)
class LossConfig:
    """The autoencoder's loss: a sum of terms by weight, 0 for none (tasks/losses.py)."""

    squared: float = 1.0  # mean squared error of the pixels, in [-1, 1]
    l1: float = 0.0  # mean absolute error
    kl: float = 1e-6  # KL(posterior | N(0, 1)), summed over the channels of a latent
    latent_noise: float = 0.0  # std of the posterior; 0: learned
    perceptual: float = 0.0  # distance of the features of pictures
    gram: float = 0.0  # distance of the Gram matrices of these features
    perceptual_features: str = MULTISCALE  # or an .npz file: models/perceptual.py:read_lpips
    crop: int = 8  # pictures are crops of at most crop x crop cells of a latent frame
    crops: int = 1  # of each clip
    # Ratio of the adversarial to the reconstruction gradient norm at the pixels, per clip.
    adversarial: float = 0.0
    discriminator: str = "S"  # a row of models/discriminator.py:SIZES
    discriminator_start: int = 0  # the first step at which the discriminator learns
    adversarial_start: int = 0  # the first step at which the autoencoder learns from it
    regularise_every: int = 16  # steps
    regularisation: float = 1.0  # weight of (D(x) - D(x + regularisation_noise e))^2
    regularisation_noise: float = 0.1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float):
                check(value >= 0, f"losses.{name}", value, "0 or more")
        check(self.squared + self.l1 > 0, "losses.squared", self.squared, "squared or l1 above 0")
        check_positive(self, "losses", ("crop", "crops", "regularise_every"))
        noise = self.regularisation_noise
        check(noise > 0, "losses.regularisation_noise", noise, "above 0")
        known = self.perceptual_features == MULTISCALE or self.perceptual_features.endswith(".npz")
        expected = f"{MULTISCALE!r} or the path of an .npz file"
        check(known, "losses.perceptual_features", self.perceptual_features, expected)
        check(
            0 <= self.discriminator_start <= self.adversarial_start,
            "losses.discriminator_start",
            self.discriminator_start,
            f"0 to losses.adversarial_start={self.adversarial_start}",
        )

    @property
    def network(self) -> str:
        """The size of the discriminator; "" if there is none."""
        return self.discriminator if self.adversarial else ""


@dataclass(frozen=True)
class FlowConfig:
    """Rectified flow (diffusion/flow.py)."""

    logit_mean: float = 0.0
    logit_std: float = 1.0
    shift_tokens: int = 256  # clips of this many tokens are not shifted; longer ones to more noise
    fine_share: float = 0.0  # of the clips, that have fine_shift_tokens instead: less noise
    fine_shift_tokens: int = 64
    # Latent channels keep their deviation in pixels to this power: 0 whitens them, with 1 all are
    # divided by one scalar.
    latent_power: float = 0.0
    caption_dropout: float = 0.1
    loss_per: str = "token"  # mean over the "token"s of the global batch, or over its "clip"s

    def __post_init__(self) -> None:
        check(math.isfinite(self.logit_mean), "flow.logit_mean", self.logit_mean, "a number")
        check(self.logit_std >= 0, "flow.logit_std", self.logit_std, "0 or more")
        check_positive(self, "flow", ("shift_tokens", "fine_shift_tokens"))
        right = 0 <= self.caption_dropout <= 1
        check(right, "flow.caption_dropout", self.caption_dropout, "a probability")
        check(0 <= self.fine_share < 1, "flow.fine_share", self.fine_share, "at least 0, below 1")
        right = 0 <= self.latent_power <= 1
        check(right, "flow.latent_power", self.latent_power, "0 to 1")
        known = self.loss_per in ("token", "clip")
        check(known, "flow.loss_per", self.loss_per, "'token' or 'clip'")


def parse_size(text: str, name: str = "size") -> tuple[int, int]:
    """Width and height in pixels of a text such as "96x64". Raises ConfigError with `name`."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text)
    if not match:
        raise ConfigError(
            f"{name}={shortened(text)}: expected WIDTHxHEIGHT in pixels, such as 96x64"
        )
    return int(match[1]), int(match[2])


def check_fps(fps: float, name: str = "fps") -> None:
    """Raises ConfigError with `name` unless an mp4 file can have this rate."""
    good = FPS[0] <= fps <= FPS[1]  # not for NaN
    check(good, name, fps, f"{FPS[0]} to {FPS[1]:g} frames per second")


@dataclass(frozen=True)
class SampleConfig:
    """How samples are drawn: during training, and the defaults of generate.py."""

    solver: str = "heun"
    steps: int = 20
    guidance: float = 4.0  # classifier-free guidance scale; 1 is none
    prompts: tuple[str, ...] = ()  # drawn at each evaluation
    followed: int = 0  # captions of held-out clips of a world that are drawn and read by detectors
    size: str = "64x64"  # width x height in pixels of the samples drawn during training
    frames: int = 17
    fps: float = 12.0

    def __post_init__(self) -> None:
        expected = " or ".join(map(repr, SOLVERS))
        check(self.solver in SOLVERS, "sample.solver", self.solver, expected)
        check_positive(self, "sample", ("steps", "frames"))
        good = 0 <= self.guidance < math.inf  # not for NaN
        check(good, "sample.guidance", self.guidance, "0 or more")
        described = all(prompt.strip() for prompt in self.prompts)
        check(described, "sample.prompts", self.prompts, "descriptions that are not empty")
        parse_size(self.size, "sample.size")
        check_fps(self.fps, "sample.fps")
        good = self.followed == 0 or self.followed > 1  # chance is read in clips of other prompts
        check(good, "sample.followed", self.followed, "0, or 2 or more")


@dataclass(frozen=True)
class TaskConfig:
    """The part of a task that configs need."""

    sections: Mapping[str, type] = field(default_factory=dict)  # its dataclasses, by their names
    # Parts of the config that determine the parameters: runs that differ in one of them cannot
    # continue from each other's checkpoints.
    model: tuple[str, ...] = ()
    # Raises ConfigError for a Config whose shared sections ask for what the task cannot do.
    check: Callable[[Any], None] = lambda cfg: None


TASKS: dict[str, TaskConfig] = {}  # by name


def register_task(name: str, task: TaskConfig) -> None:
    """From now on configs may name this task, and have its sections.

    Raises ValueError if another task has the name, or one of the sections' names.
    """
    if name in TASKS:
        raise ValueError(f"two tasks are called {name!r}")
    for section, kind in task.sections.items():
        if section in sections() or not is_dataclass(kind):
            raise ValueError(f"task {name!r}: {section!r} must be a new name, of a dataclass")
    TASKS[name] = task


def find_task(name: str) -> TaskConfig:
    """The TaskConfig of this name. Raises ConfigError for an unknown one."""
    if name not in TASKS:
        raise ConfigError(
            f"task={name!r}: expected one of {', '.join(TASKS)}, "
            "or a task whose module the config file imports"
        )
    return TASKS[name]


def sections() -> dict[str, type]:
    """The sections of all tasks: dataclasses by name."""
    return {name: kind for task in TASKS.values() for name, kind in task.sections.items()}


def _check_autoencoder(cfg: Any) -> None:
    check(cfg.data.latents == "", "data.latents", cfg.data.latents, "'' for this task")
    kind = cfg.autoencoder.kind
    check(kind == "videodit", "autoencoder.kind", kind, "'videodit', which alone can be trained")


def _check_diffusion(cfg: Any) -> None:
    for name in ("mirror", "reverse"):
        rows = getattr(cfg.data.views, name)
        expected = "() for this task: captions would no longer be true"
        check(not rows, f"data.views.{name}", rows, expected)


register_task(
    "autoencoder",
    TaskConfig({"losses": LossConfig}, model=("autoencoder",), check=_check_autoencoder),
)
register_task(
    "diffusion",
    TaskConfig(
        {"flow": FlowConfig, "sample": SampleConfig},
        model=("autoencoder", "text", "dit"),
        check=_check_diffusion,
    ),
)
