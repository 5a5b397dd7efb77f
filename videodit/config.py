"""What can be configured: frozen dataclasses, their defaults, and their checks. Imports no jax.

An experiment is a file in configs/ whose `get_config(arg)` takes `defaults()` (an ml_collections
ConfigDict of everything below) and changes fields; the command line overrides single fields
(`--config.optim.learning_rate=1e-3`); `from_config_dict` makes the typed, checked `Config`.
Functions of the project take the piece they need (`cfg.optim`), never the root.
"""

import dataclasses
import difflib
import json
import math
import sys
import typing
from dataclasses import dataclass, field

from ml_collections import ConfigDict

SYNTHETIC = "synthetic"  # value of data.catalog and text.workdir: clips and captions made in memory
MULTISCALE = "multiscale"  # value of losses.perceptual_features: no weights file
RANDOM = "random"  # value of autoencoder.workdir: an untrained autoencoder, for smoke runs


class ConfigError(Exception):
    """What a user can mend; entry points end with it (`refuse`), without a traceback."""


def refuse(error: object) -> typing.NoReturn:
    """Ends an entry point for what its user can mend: one line, exit status 2."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def check(condition: bool, name: str, value: object, expected: str) -> None:
    """Raises ConfigError("name=value: expected ...") unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{name}={value!r}: expected {expected}")


def check_positive(cfg, prefix: str, names: tuple[str, ...]) -> None:
    """Raises ConfigError unless the named fields of a config are at least 1."""
    for name in names:
        check(
            getattr(cfg, name) >= 1, f"{prefix}.{name}".strip("."), getattr(cfg, name), "at least 1"
        )


@dataclass(frozen=True)
class ModeWeights:
    """How often each mode of given tokens is trained (data/planning/given.py): relative weights."""

    generate: float = 1.0  # nothing given: text to video, text to image
    animate: float = 0.0  # the first latent frame is given
    extend: float = 0.0  # about the first half is given, in whole chunks of the autoencoder
    prepend: float = 0.0  # the last half is given
    connect: float = 0.0  # the first and the last latent frame are given
    inpaint: float = 0.0  # all but a box is given


Table = tuple[tuple[float, ...], ...]  # rows (from step, values): each holds until the next one


@dataclass(frozen=True)
class ViewConfig:
    """What of a clip is seen, at which size: schedules over training (data/planning/picks.py).

    An empty table leaves clips as they are. Clips are never enlarged and keep their aspect.
    """

    sides: Table = ()  # (step, least, most): sqrt(width * height) in pixels, uniform
    # (step, least, most): duration, uniform, to whole patches; a random part of a longer clip.
    seconds: Table = ()
    rates: Table = ()  # (step, fps, ...): one of them is approached by leaving frames out
    images: Table = ()  # (step, share): images' share of the tokens of each source that has both
    drop: Table = ()  # (step, most, a, b): most * Beta(a, b) of a clip's tokens, at random
    drop_static: Table = ()  # (step, share): of the patches that repeat the previous frame
    # Of autoencoders only, as captions would be wrong.
    mirror: Table = ()  # (step, share): of the draws that are flipped, left for right
    reverse: Table = ()  # (step, share): of the draws that are played backwards

    def __post_init__(self):
        values = {"sides": 2, "seconds": 2, "rates": 0, "drop": 3}
        shares = ("images", "drop_static", "mirror", "reverse")
        for name, count in (values | dict.fromkeys(shares, 1)).items():
            _check_table(f"data.views.{name}", getattr(self, name), count)
        for name in ("sides", "seconds", "rates"):
            rows = getattr(self, name)
            good = all(value > 0 for row in rows for value in row[1:])
            check(good, f"data.views.{name}", rows, "values above 0")
        for name in ("sides", "seconds"):
            rows = getattr(self, name)
            good = all(row[1] <= row[2] for row in rows)
            check(good, f"data.views.{name}", rows, "rows (step, least, most)")
        for name in (*shares, "drop"):
            rows = getattr(self, name)
            good = all(0 <= row[1] <= 1 and min(row[2:], default=1) > 0 for row in rows)
            check(good, f"data.views.{name}", rows, "a share of 0 to 1 behind each step")


def _check_table(name: str, rows: Table, values: int) -> None:
    """Rows of a step and `values` numbers (0: one or more), from step 0 on, in order."""
    steps = [row[0] for row in rows if row]
    good = len(steps) == len(rows) and steps == sorted(set(steps)) and (not steps or not steps[0])
    check(good, name, rows, "rows whose first numbers are rising steps, the first of them 0")
    sizes = {len(row) - 1 for row in rows}
    good = sizes <= {values} if values else 0 not in sizes
    check(good, name, rows, f"{values or 'some'} numbers behind each step")


@dataclass(frozen=True)
class DataConfig:
    """Clips and how they are packed into rows of exactly `row_tokens` vision tokens."""

    # One source (data/sources/source.py): a folder that tools/curate.py made, a folder of videos
    # and images, "tfds:BUILDER_FOLDER:SPLIT", or "synthetic"; a folder may be gs://...
    catalog: str = ""
    mixture: tuple[tuple[str, float], ...] = ()  # instead: (source, weight in vision tokens), ...
    where: str = ""  # SQL over the catalog's columns, such as "aspect > 1 and motion > 0.2"
    # Where the clips' latents are (tools/encode_latents.py); "": pixels are encoded at every step.
    latents: str = ""
    row_tokens: int = 1024  # L
    text_tokens: int = 512  # S; 0: as many as the captions need
    max_segments: int = 16  # M, clips a row
    batch_rows: int = 8  # B, rows of the global batch
    rows_per_group: int = 64  # rows that one window of the shuffled catalog is packed into
    threads: int = 2  # decoding threads a process, when workers is 0
    workers: int = 0  # decoding processes a process
    worker_memory: float = 4.0  # GB that a decoding process may have
    max_broken: float = 0.01  # share of the clips read that may be broken before the run stops
    modes: ModeWeights = field(default_factory=ModeWeights)
    views: ViewConfig = field(default_factory=ViewConfig)

    def __post_init__(self):
        check_positive(self, "data", ("row_tokens", "max_segments", "batch_rows", "threads"))
        for name in ("text_tokens", "workers"):
            check(getattr(self, name) >= 0, f"data.{name}", getattr(self, name), "0 or more")
        check(self.worker_memory > 0, "data.worker_memory", self.worker_memory, "more than 0 GB")
        check(0 <= self.max_broken <= 1, "data.max_broken", self.max_broken, "a share of 0 to 1")
        good = all(weight > 0 for _, weight in self.mixture)
        check(good, "data.mixture", self.mixture, "(source, weight above 0), ...")
        if self.catalog and self.mixture:
            raise ConfigError("data.mixture: leave data.catalog empty, or name it in the mixture")
        check(
            self.rows_per_group % self.batch_rows == 0 and self.rows_per_group > 0,
            "data.rows_per_group",
            self.rows_per_group,
            f"a multiple of data.batch_rows={self.batch_rows}",
        )
        if self.latents:
            self._check_latents()

    def _check_latents(self) -> None:
        """Stored latents are of whole clips, and know nothing only of what is later in time."""
        for name in ("prepend", "connect", "inpaint"):
            weight = getattr(self.modes, name)
            expected = "0 with data.latents: what is given is not the clip's beginning"
            check(weight == 0, f"data.modes.{name}", weight, expected)
        needs = {
            "drop_static": "what repeats is seen in pixels",
            "mirror": "clips are stored as they are",
            "reverse": "clips are stored as they are",
        }
        for name, reason in needs.items():
            rows = getattr(self.views, name)
            check(not rows, f"data.views.{name}", rows, f"() with data.latents: {reason}")


@dataclass(frozen=True)
class AutoencoderConfig:
    """The video autoencoder. `size` is a row of models/autoencoder.py:SIZES."""

    workdir: str = ""  # a trained autoencoder for the DiT to run on, or "random"
    size: str = "S"
    patch: tuple[int, int, int] = (4, 8, 8)  # frames, height, width of a latent cell in pixels
    channels: int = 16  # values of a latent cell
    chunk: int = 2  # latent frames of a chunk; a token sees its own chunk and the one before
    window: int = 16  # frames of more than window^2 cells are attended to in windows of this side
    pca_batches: int = 8  # batches that the linear path is fitted to before step 1; 0: random

    def __post_init__(self):
        check_positive(self, "autoencoder", ("channels", "chunk", "window"))
        right = len(self.patch) == 3 and min(self.patch) >= 1
        check(right, "autoencoder.patch", self.patch, "frames, height and width, at least 1 each")
        most = 3 * math.prod(self.patch)
        expected = f"at most the {most} numbers of a patch"
        check(self.channels <= most, "autoencoder.channels", self.channels, expected)
        check(self.pca_batches >= 0, "autoencoder.pca_batches", self.pca_batches, "0 or more")


@dataclass(frozen=True)
class LossConfig:
    """The autoencoder's loss: a sum of terms by weight, 0 for none (tasks/losses.py)."""

    squared: float = 1.0  # mean squared error of the pixels, in [-1, 1]
    l1: float = 0.0  # mean absolute error
    kl: float = 1e-6  # KL(posterior | N(0, 1)), summed over the channels of a latent
    latent_noise: float = 0.0  # deviation of the posterior; 0: learned
    perceptual: float = 0.0  # distance of the features of pictures
    gram: float = 0.0  # distance of the Gram matrices of these features
    perceptual_features: str = MULTISCALE  # or an .npz file: models/perceptual.py:read_lpips
    crop: int = 8  # pictures are crops of at most crop x crop cells of a latent frame
    crops: int = 1  # of each clip
    # Of the adversarial term's gradient at a clip's pixels, to that of the terms above.
    adversarial: float = 0.0
    discriminator: str = "S"  # a row of models/discriminator.py:SIZES
    discriminator_start: int = 0  # the step from which on the discriminator learns
    adversarial_start: int = 0  # and from which on the autoencoder learns from it
    regularise_every: int = 16  # steps
    regularisation: float = 1.0  # weight of (D(x) - D(x + regularisation_noise e))^2
    regularisation_noise: float = 0.1

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, float):
                check(value >= 0, f"losses.{name}", value, "0 or more")
        check(self.squared + self.l1 > 0, "losses.squared", self.squared, "squared or l1 above 0")
        check_positive(self, "losses", ("crop", "crops", "regularise_every"))
        check(self.regularisation_noise > 0, "losses.regularisation_noise", 0.0, "above 0")
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
class TextConfig:
    """The text encoder, trained jointly with the DiT. `size`: models/text.py:SIZES."""

    workdir: str = ""  # folder with tokenizer.model (tools/curate.py makes it), or "synthetic"
    size: str = "S"


@dataclass(frozen=True)
class DiTConfig:
    """The diffusion transformer. `size` is a row of models/dit.py:SIZES."""

    size: str = "S"
    modulation: str = "block"  # adaLN table of each "block", or one "shared" plus block offsets

    def __post_init__(self):
        check(
            self.modulation in ("block", "shared"),
            "dit.modulation",
            self.modulation,
            "'block' or 'shared'",
        )


@dataclass(frozen=True)
class FlowConfig:
    """Rectified flow (diffusion/flow.py)."""

    logit_mean: float = 0.0
    logit_std: float = 1.0
    shift_tokens: int = 256  # clips of this many tokens are not shifted; longer ones to more noise
    caption_dropout: float = 0.1
    loss_per: str = "token"  # mean over the "token"s of the global batch, or over its "clip"s

    def __post_init__(self):
        check(
            0 <= self.caption_dropout <= 1,
            "flow.caption_dropout",
            self.caption_dropout,
            "a probability",
        )
        check(
            self.loss_per in ("token", "clip"), "flow.loss_per", self.loss_per, "'token' or 'clip'"
        )


@dataclass(frozen=True)
class SampleConfig:
    """How samples are drawn: during training, and the defaults of generate.py."""

    solver: str = "heun"
    steps: int = 20
    guidance: float = 4.0  # classifier-free guidance scale; 1 is none
    prompts: tuple[str, ...] = ()  # drawn at each evaluation
    size: str = "64x64"  # width x height in pixels of the samples drawn during training
    frames: int = 17
    fps: float = 12.0

    def __post_init__(self):
        check(self.solver in ("euler", "heun"), "sample.solver", self.solver, "'euler' or 'heun'")
        check(self.steps >= 1, "sample.steps", self.steps, "at least 1")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with linear warm-up and cosine decay, gradient clipping, and an average of weights."""

    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_fraction: float = 0.1  # of the learning rate, reached at the last step
    weight_decay: float = 0.01  # on matrices only
    b1: float = 0.9
    b2: float = 0.95
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    accumulate: int = 1  # micro-batches whose gradients are added before an update
    memory: str = "device"  # where the state of AdamW waits between updates: or "host"

    def __post_init__(self):
        check_positive(self, "optim", ("accumulate",))
        check(0 <= self.ema_decay < 1, "optim.ema_decay", self.ema_decay, "0 or more, below 1")
        good = self.memory in ("device", "host")
        check(good, "optim.memory", self.memory, "'device' or 'host'")


@dataclass(frozen=True)
class ComputeConfig:
    """Number formats and the trade of memory against recomputation."""

    dtype: str = "bfloat16"  # matrix products
    residual_dtype: str = "bfloat16"  # the residual stream between blocks
    # The blocks' products: "" in dtype, or of 8 bits, "int8" or "fp8" (nn/low_precision.py).
    matmul: str = ""
    unroll: int = 1  # layers that one turn of the loop over layers does
    gather: str = "layer"  # when parameters are gathered over fsdp: for each, or once a "step"
    remat: str = "block"  # what is kept for the backward pass: nn/block.py:REMAT
    attention: str = "auto"  # the kernel of the platform, or one of nn/kernels.py:NAMES

    def __post_init__(self):
        check_positive(self, "compute", ("unroll",))
        known = self.matmul in ("", "int8", "fp8")
        check(known, "compute.matmul", self.matmul, "'', 'int8' or 'fp8'")
        for name in ("dtype", "residual_dtype"):
            value = getattr(self, name)
            check(
                value in ("float32", "bfloat16"),
                f"compute.{name}",
                value,
                "'float32' or 'bfloat16'",
            )
        good = self.gather in ("layer", "step")
        check(good, "compute.gather", self.gather, "'layer' or 'step'")


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 for one axis means all that remain."""

    data: int = -1
    fsdp: int = 1
    ring: int = 1  # a row's parts whose keys travel (nn/ring.py): beyond what heads allow
    context: int = 1  # a row's parts, times tensor at most as many as heads
    tensor: int = 1
    slices: int = 0  # that a slow network joins, along data; 0: the slices of TPUs, else 1
    cpu_devices: int = 0  # fake CPU devices to make; 0: the machine's own devices


@dataclass(frozen=True)
class Config:
    """A run: what it trains, on what, for how long."""

    task: str = "diffusion"
    seed: int = 0
    steps: int = 1000
    log_every: int = 10
    eval_every: int = 500
    eval_batches: int = 0  # at most this many batches of held-out clips; 0: all
    save_every: int = 500
    keep: int = 2  # checkpoints
    init_from: str = ""  # workdir of an earlier stage, whose averaged weights a new run starts from
    data: DataConfig = field(default_factory=DataConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    text: TextConfig = field(default_factory=TextConfig)
    dit: DiTConfig = field(default_factory=DiTConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)

    def __post_init__(self):
        check(
            self.task in ("autoencoder", "diffusion"),
            "task",
            self.task,
            "'autoencoder' or 'diffusion'",
        )
        check_positive(self, "", ("steps", "log_every", "eval_every", "save_every", "keep"))
        check(
            self.data.batch_rows % self.optim.accumulate == 0,
            "optim.accumulate",
            self.optim.accumulate,
            f"a divisor of data.batch_rows={self.data.batch_rows}",
        )
        if self.task == "autoencoder":
            check(self.data.latents == "", "data.latents", self.data.latents, "'' for this task")
            return
        for name in ("mirror", "reverse"):
            rows = getattr(self.data.views, name)
            expected = "() for this task: captions would no longer be true"
            check(not rows, f"data.views.{name}", rows, expected)


def defaults() -> ConfigDict:
    """Every field at its default, as the ConfigDict that a file in configs/ starts from."""
    return ConfigDict(to_dict(Config()))


def from_config_dict(config: ConfigDict) -> Config:
    """The typed config. Raises ConfigError naming an unknown field, a wrong type or a bad value."""
    return _build(Config, config.to_dict(), "")


def to_dict(cfg: Config) -> dict:
    """Nested plain dicts of `cfg`, ready for JSON."""
    return dataclasses.asdict(cfg)


def from_json(text: str) -> Config:
    """The config that `json.dumps(to_dict(cfg))` wrote. Raises ConfigError as from_config_dict."""
    return _build(Config, json.loads(text), "")


def differences(a: Config, b: Config, parts: tuple[str, ...]) -> list[str]:
    """Fields of the named parts in which two configs differ: "part.field: a's, b's value"."""
    flat_a, flat_b = (_flatten({part: to_dict(cfg)[part] for part in parts}) for cfg in (a, b))
    return [
        f"{name}: {flat_a[name]!r}, {flat_b[name]!r}"
        for name in flat_a
        if flat_a[name] != flat_b[name]
    ]


def nearest(name: str, names: typing.Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one, or all of them if none is near."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"


def _build(cls, values: dict, prefix: str):
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in hints:
            raise ConfigError(f"unknown field {prefix}{name}: {nearest(name, hints)}")
    return cls(
        **{name: _convert(hints[name], value, prefix + name) for name, value in values.items()}
    )


def _convert(hint, value, name: str):
    if dataclasses.is_dataclass(hint):
        check(isinstance(value, dict), name, value, "a group of fields")
        return _build(hint, value, name + ".")
    if typing.get_origin(hint) is tuple:
        check(isinstance(value, (tuple, list)), name, value, f"a {hint}")
        kinds = typing.get_args(hint)
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        check(len(value) == len(kinds), name, value, f"{len(kinds)} values")
        pairs = enumerate(zip(kinds, value))
        return tuple(_convert(kind, item, f"{name}[{i}]") for i, (kind, item) in pairs)
    accepted = (int, float) if hint is float else hint
    check(
        isinstance(value, accepted) and not isinstance(value, bool),
        name,
        value,
        f"a {hint.__name__}",
    )
    return hint(value)


def _flatten(values: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = tuple(value) if isinstance(value, list) else value
    return flat
