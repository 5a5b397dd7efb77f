"""What can be configured of a run: steps, optimizer, number formats, mesh; and the whole config."""

import math
from dataclasses import dataclass, field
from typing import Any

from videodit.config.data import DataConfig
from videodit.config.errors import check, check_positive
from videodit.config.models import AutoencoderConfig, DiTConfig, TextConfig
from videodit.config.tasks import FlowConfig, LossConfig, SampleConfig, find_task, sections


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with linear warm-up and cosine decay, gradient clipping, and an EMA of the weights."""

    learning_rate: float = 1e-3
    warmup_steps: int = 100
    decay_from: int = 0  # step until which the learning rate is constant; 0: no longer than warm-up
    decay_to: int = 0  # step at which the decay ends; 0: the last step of the run
    final_fraction: float = 0.1  # of the learning rate, where the decay ends
    weight_decay: float = 0.01  # dense kernels only
    matrices: str = "adamw"  # what updates the blocks' matrices: or "muon"
    b1: float = 0.9
    b2: float = 0.95
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    # Lengths of two power averages, such as (0.05, 0.1), from which tools/average_weights.py makes
    # an average of any length (videodit/averages.py); (): none.
    power_averages: tuple[float, ...] = ()
    snapshots: int = 16  # how often in a run they are saved
    accumulate: int = 1  # micro-batches whose gradients are added before an update
    max_skipped: int = 10  # updates in a row that are skipped (loss not finite) before a run stops
    memory: str = "device"  # of the optimizer's state between updates: "device" or "host"

    def __post_init__(self) -> None:
        check_positive(self, "optim", ("accumulate", "max_skipped", "snapshots"))
        check(self.snapshots <= 2**16, "optim.snapshots", self.snapshots, "at most 65536")
        lengths = self.power_averages
        good = len(set(lengths)) in (0, 2) and all(0 < length <= 0.28 for length in lengths)
        expected = "() or two different lengths above 0 and at most 0.28"
        check(good and len(lengths) < 3, "optim.power_averages", lengths, expected)
        for name in (
            *("learning_rate", "warmup_steps", "decay_from", "decay_to"),
            *("final_fraction", "weight_decay"),
        ):
            value = getattr(self, name)
            check(0 <= value < math.inf, f"optim.{name}", value, "0 or more")
        for name in ("b1", "b2"):
            value = getattr(self, name)
            check(0 <= value < 1, f"optim.{name}", value, "0 or more, below 1")
        check(self.clip_norm > 0, "optim.clip_norm", self.clip_norm, "above 0")
        check(0 <= self.ema_decay < 1, "optim.ema_decay", self.ema_decay, "0 or more, below 1")
        good = self.matrices in ("adamw", "muon")
        check(good, "optim.matrices", self.matrices, "'adamw' or 'muon'")
        good = self.memory in ("device", "host")
        check(good, "optim.memory", self.memory, "'device' or 'host'")


@dataclass(frozen=True)
class ComputeConfig:
    """Number formats and the trade of memory against recomputation."""

    dtype: str = "bfloat16"  # matmuls
    residual_dtype: str = "bfloat16"  # the residual stream between blocks
    # The blocks' matmuls: "" in dtype, or of 8 bits, "int8" or "fp8" (nn/low_precision.py).
    matmul: str = ""
    unroll: int = 1  # layers that one turn of the loop over layers does
    gather: str = "layer"  # when parameters are gathered over fsdp: for each, or once a "step"
    remat: str = "block"  # what is kept for the backward pass: nn/block.py:REMAT
    attention: str = "auto"  # the kernel of the platform, or one of nn/kernels.py:NAMES

    def __post_init__(self) -> None:
        check_positive(self, "compute", ("unroll",))
        known = self.matmul in ("", "int8", "fp8")
        check(known, "compute.matmul", self.matmul, "'', 'int8' or 'fp8'")
        for name in ("dtype", "residual_dtype"):
            value = getattr(self, name)
            good = value in ("float32", "bfloat16")
            check(good, f"compute.{name}", value, "'float32' or 'bfloat16'")
        good = self.gather in ("layer", "step")
        check(good, "compute.gather", self.gather, "'layer' or 'step'")


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 for one axis means all that remain."""

    data: int = -1
    fsdp: int = 1
    ring: int = 1  # parts of a row, beyond what heads allow: ring attention (nn/ring.py)
    context: int = 1  # parts of a row; tensor x context must divide the number of heads
    tensor: int = 1
    # TPU slices along `data`, joined by a slower network; 0: as the devices say, else 1.
    slices: int = 0
    cpu_devices: int = 0  # fake CPU devices to make; 0: the machine's own devices

    def __post_init__(self) -> None:
        check(self.cpu_devices >= 0, "mesh.cpu_devices", self.cpu_devices, "0 or more")


class TaskSections:
    """The sections of tasks as attributes of a Config. Tasks elsewhere may register further ones:
    their sections are found in the same way, but type checkers do not know them.
    """

    losses: LossConfig
    flow: FlowConfig
    sample: SampleConfig

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["sections"][name]
        except KeyError:
            raise AttributeError(f"the config has no section or field {name!r}") from None


@dataclass(frozen=True)
class Config(TaskSections):
    """A run: what it trains, on what, for how long."""

    task: str = "diffusion"  # one of config/tasks.py:TASKS
    seed: int = 0
    steps: int = 1000
    log_every: int = 10
    eval_every: int = 500
    eval_batches: int = 0  # at most this many batches of held-out clips; 0: all
    inspect_batches: int = 2  # of these, the ones on which costly measures are taken
    save_every: int = 500
    keep: int = 2  # of the newest checkpoints; the newest sound one is always kept
    init_from: str = ""  # workdir of an earlier stage, whose EMA weights a new run starts from
    data: DataConfig = field(default_factory=DataConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    text: TextConfig = field(default_factory=TextConfig)
    dit: DiTConfig = field(default_factory=DiTConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    # The sections of all tasks by name, those that are left out at their defaults.
    sections: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        task = find_task(self.task)
        found = {name: kind() for name, kind in sections().items()} | self.sections
        object.__setattr__(self, "sections", found)
        check_positive(self, "", ("steps", "log_every", "eval_every", "save_every", "keep"))
        check(
            self.data.batch_rows % self.optim.accumulate == 0,
            "optim.accumulate",
            self.optim.accumulate,
            f"a divisor of data.batch_rows={self.data.batch_rows}",
        )
        end, given = self.optim.decay_to or self.steps, self.optim.decay_from
        expected = f"at most {end}, where the decay ends (optim.decay_to, else steps)"
        check(given <= end, "optim.decay_from", given, expected)
        task.check(self)
