"""The one training loop, to be read from top to bottom."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview
from jax.profiler import StepTraceAnnotation

from videodit.averages import moments
from videodit.checkpoint import (
    SNAPSHOTS,
    Checkpointer,
    check_data,
    check_digests,
    check_run,
    has_checkpoints,
    read_config,
    restore_ema,
    write_digests,
    write_run,
)
from videodit.compiler_flags import keep_compiled
from videodit.config import Config, ConfigError, DataConfig, check
from videodit.data.loader import (
    DeviceBatch,
    check_readable,
    make_pool,
    train_batches,
    validation_batches,
)
from videodit.data.patches import grid
from videodit.data.planning.plan import Plan
from videodit.data.sources.latents import LatentSource
from videodit.data.sources.source import open_source, open_tokenizer
from videodit.data.tokenizer import Tokenizer
from videodit.data.workers import Pool
from videodit.divergence import DivergenceWatch
from videodit.eval.prompts import PromptFollowing
from videodit.files import write_json
from videodit.flops import Clips, Flops
from videodit.folders import check_folder, make_folder
from videodit.goodput import Goodput, begin_life, device_metrics, total_goodput
from videodit.inference.codec import if_finite
from videodit.inference.pipeline import Pipeline
from videodit.lock import WorkdirLock
from videodit.metrics import MetricWriter, StepTimer, format_count, has_line
from videodit.optim import make_optimizer, make_schedule
from videodit.parameters import Params, replaced
from videodit.preemption import Preemption
from videodit.profiling import Profiler
from videodit.resume import check_state, tell_changes
from videodit.sharding import abstract, axis_size, check_same, first_alone, from_all, make_mesh
from videodit.step import (
    Averages,
    State,
    make_eval_step,
    make_init,
    make_train_step,
    merge,
    summarize,
)
from videodit.tasks.drawing import write_drawings
from videodit.tasks.registry import make_task
from videodit.tasks.resolve import check_model, resolve
from videodit.tasks.task import Arrays, Drawing, Generative, Task

PADDING_STEPS = 256  # summary.json has the mean padding of so many steps
logger = logging.getLogger(__name__)


def train(cfg: Config, workdir: str | os.PathLike) -> State:
    """Trains `cfg` in `workdir` from its newest checkpoint or from the start; returns the state.

    Writes config.json, metrics.jsonl, tensorboard/, draws/, checkpoints/ and at the end
    summary.json. Raises ConfigError for what a user can mend, Preempted after SIGTERM or SIGINT,
    when it has saved what it trained, and Diverged if the loss stays NaN or infinite.
    """
    check("://" not in str(workdir), "--workdir", workdir, "a folder (mount a bucket)")
    check_folder(workdir, "--workdir")
    check_folder(Path(workdir) / "checkpoints", "--workdir")
    goodput = Goodput()
    keep_compiled(workdir)
    mesh = make_mesh(cfg.mesh)
    logger.info("mesh %s: %d of %d devices", dict(mesh.shape), mesh.size, jax.device_count())
    with jax.set_mesh(mesh):
        tokenizer = open_tokenizer(cfg.text.workdir)

        def open_data(cfg: Config) -> DataConfig:
            check_run(workdir, cfg, tokenizer)  # before data, which may take long to index
            check_rows(cfg)
            check_model(cfg)
            if cfg.init_from and not has_checkpoints(workdir):
                read_config(cfg.init_from, "init_from")
                check_run(cfg.init_from, cfg, tokenizer)
            return data.open(cfg)

        with closing(WorkdirLock(workdir)) as lock, closing(Data(tokenizer)) as data:
            lock.take()  # at once, if the workdir is there
            cfg = resolve(cfg, open_data)
            with closing(Preemption()) as preemption:
                return _train(cfg, Path(workdir), data, preemption, goodput, lock)


class Data:
    """The data of a run. The plan is made from the catalog alone; a batch follows from its step."""

    plan: Plan  # once the data are open

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._pool: Pool | None = None

    def open(self, cfg: Config) -> DataConfig:
        """Makes the plan, reads a clip on trial; cfg.data with text_tokens chosen."""
        # On process 0 first, so that the files of an index are written once.
        source = first_alone(lambda: open_source(cfg.data, self.tokenizer))
        patch, chunk = cfg.autoencoder.patch, cfg.autoencoder.chunk
        self.plan = Plan(source.catalog, cfg.data, cfg.seed, patch, source.parts, chunk=chunk)
        check_same(self.plan.digest(), "data.catalog")
        self.plan.say_if_never_evaluated()
        self._parts = (source, self.plan, self.tokenizer, patch)
        self._pool = make_pool(*self._parts)
        check_readable(*self._parts, pool=self._pool)
        return self.plan.cfg

    def train_batches(self, first_step: int) -> Generator[DeviceBatch, None, None]:
        """Global batches from this step on."""
        return train_batches(*self._parts, start_step=first_step, pool=self._pool)

    def validation_batches(self) -> Generator[DeviceBatch, None, None]:
        """Global batches of all held-out clips."""
        return validation_batches(*self._parts, pool=self._pool)

    def from_the_start(self) -> Iterator[DeviceBatch]:
        """Training batches from step 0 on, opened when the first is asked for."""
        with closing(self.train_batches(0)) as batches:
            yield from batches

    def check_encoder(self, digest: str, cfg: Config) -> None:
        """Raises ConfigError if the encoder with `digest` did not make the latents of the data."""
        source = self._parts[0]
        if isinstance(source, LatentSource):
            source.check_encoder(digest, cfg.autoencoder.workdir)

    def close(self) -> None:
        """Ends the decoding processes."""
        if self._pool:
            self._pool.close()


def _train(
    cfg: Config,
    workdir: Path,
    data: Data,
    preemption: Preemption,
    goodput: Goodput,
    lock: WorkdirLock,
) -> State:
    plan, tokenizer = data.plan, data.tokenizer
    task = make_task(cfg, tokenizer)
    pipeline = Pipeline(task, cfg, tokenizer) if isinstance(task, Generative) else None
    schedule = make_schedule(cfg.optim, cfg.steps)
    optimizer = make_optimizer(cfg.optim, schedule, task.groups)
    followed = make_following(cfg) if pipeline else None
    frozen = task.make_frozen(data.from_the_start())
    digests, key = task.digests(frozen), jax.random.key(cfg.seed)
    check_frozen(cfg, workdir, data, digests)
    make_folder(workdir, "--workdir")
    lock.take()
    checkpoints = Checkpointer(workdir, keep=cfg.keep)
    snapshots = Snapshots(workdir, cfg)
    init = make_init(task, optimizer, cfg.optim.power_averages)
    state, first = open_state(cfg, workdir, checkpoints, task, tokenizer, init, key, frozen)
    write_run(workdir, cfg, tokenizer)
    write_digests(workdir, digests)
    check_data(workdir, plan.digest(), resumed=first > 0)
    parameters = log_parameters(state["params"])

    train_step = make_train_step(task, optimizer, schedule, cfg.optim)
    eval_step, inspect_step = make_eval_step(task.evaluate), make_eval_step(task.inspect)
    life = begin_life(workdir, first, goodput.began)
    writer = MetricWriter(workdir, cfg.steps, resume_step=first)
    timer = StepTimer(first, cfg.steps)
    profiler = Profiler(workdir)
    # A preempted run skipped this evaluation. Process 0 decides for all hosts.
    owed = bool(from_all(not has_line(workdir, first, "eval"))[0])
    watch = DivergenceWatch(cfg.optim.max_skipped, plan, checkpoints)
    # Metrics on the device, of steps that may still be running.
    pending: deque[tuple[int, dict[str, jax.Array]]] = deque()

    def evaluate(step: int) -> None:
        total: Averages = {}
        inspected: Averages = {}
        drawn: list[Drawing] = []
        sampler = pipeline.with_params(state["ema"], frozen) if pipeline and step > 0 else None
        with closing(data.validation_batches()) as batches:
            for n, batch in enumerate(batches):
                if n == 0 and step > 0:
                    drawn = if_finite(task.draw, state["ema"], frozen, batch, sampler) or []
                total = merge(total, eval_step(state["ema"], frozen, batch, key))
                if n < cfg.inspect_batches:
                    inspected = merge(inspected, inspect_step(state["ema"], frozen, batch, key))
                if n + 1 == cfg.eval_batches:
                    break
        measured = summarize(total | inspected)
        if followed and sampler:
            measured |= if_finite(followed.measure, sampler) or {}
        if measured:
            writer.write(step, "eval", measured)
        write_drawings(workdir / "draws" / f"{step:06d}", drawn)

    def report(step: int, metrics: dict[str, jax.Array]) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        watch.update(step, values)
        speed = timer.update(step, int(values.pop("tokens")))
        if step % cfg.log_every == 0 or step == cfg.steps:
            planned, flops = plan_metrics(plan, task, step - 1)
            values["skipped"] = watch.skipped()
            device = device_metrics(flops, speed["step_seconds"])
            writer.write(step, "train", {**values, **planned, **device, **goodput.waits(), **speed})

    goodput.started()
    # The order is a contract: evaluate and save the old state, then fetch the next batch, so that
    # a resumed run sees the very batches, states and evaluations of one that never stopped.
    with closing(data.train_batches(first)) as batches, closing(profiler):
        for step in range(first, cfg.steps + 1):
            last, new = step == cfg.steps, step != first
            evaluates = step == 0 or ((new or owed) and (last or step % cfg.eval_every == 0))
            leaves = preemption.reached(step) and not last
            saves = new and (last or leaves or step % cfg.save_every == 0)
            while pending and (evaluates or saves):  # a resumed run will not report them again
                report(*pending.popleft())
            began = time.perf_counter()
            if evaluates and not leaves:
                with goodput.spent_on("evaluate"):
                    evaluate(step)
            if saves:
                lock.check()
                with goodput.spent_on("save"):
                    checkpoints.save(step, state)
                goodput.write(workdir, step, life)
            with goodput.spent_on("save"):
                snapshots.save(step, state)
                checkpoints.check()
            timer.pause(time.perf_counter() - began)
            if last or leaves:
                break
            with goodput.spent_on("data"):
                batch = next(batches)
            profiler.before(step, pending)
            with jax.transfer_guard("disallow"), StepTraceAnnotation("train", step_num=step):
                state, metrics = train_step(state, frozen, batch, key)
            pending.append((step + 1, metrics))
            if len(pending) > 2:
                report(*pending.popleft())

    if last:
        task.finish(state["ema"], frozen, data.from_the_start(), workdir)
    with goodput.spent_on("save"):
        checkpoints.close()
        snapshots.close()
    goodput.write(workdir, step, life)
    writer.close()
    if leaves:
        done = f"saved after step {step}" if step else "nothing to save before the first step"
        raise preemption.preempted(f"{done} in {workdir}; the same command resumes")
    write_summary(workdir, cfg, plan, parameters)
    return state


class Snapshots:
    """The power averages of a run at some of its steps, all of which are kept; none by default."""

    def __init__(self, workdir: Path, cfg: Config) -> None:
        self._moments = moments(cfg.steps, cfg.optim.snapshots)
        averages = cfg.optim.power_averages
        self._saved = Checkpointer(workdir / SNAPSHOTS, keep=None) if averages else None

    def save(self, step: int, state: State) -> None:
        """Saves the averages if it is time, unless they are there from before an interruption."""
        if self._saved and step in self._moments:
            self._saved.save(step, {"powers": state["powers"]})

    def close(self) -> None:
        """Waits until everything is saved."""
        if self._saved:
            self._saved.close()


def make_following(cfg: Config) -> PromptFollowing | None:
    """The prompts whose following is measured at each evaluation, if the config asks for any."""
    count = cfg.sample.followed
    return PromptFollowing(cfg.data.catalog, count) if count else None


def check_frozen(cfg: Config, workdir: Path, data: Data, digests: dict[str, str]) -> None:
    """Raises ConfigError for stored latents or weights that belong to other frozen arrays."""
    data.check_encoder(digests.get("autoencoder", ""), cfg)
    check_digests(workdir, digests, cfg)
    if cfg.init_from:
        check_digests(cfg.init_from, digests, cfg)


def open_state(
    cfg: Config,
    workdir: Path,
    checkpoints: Checkpointer,
    task: Task,
    tokenizer: Tokenizer,
    init: Callable[[jax.Array, Arrays], State],
    key: jax.Array,
    frozen: Arrays,
) -> tuple[State, int]:
    """The state to continue from, on the current mesh, and the number of steps it has had.

    From the newest checkpoint that is not damaged; else from the weights of cfg.init_from; else
    `init(key, frozen)`. Raises ConfigError if the checkpoint is not of this run, or the earlier
    stage of another model.
    """
    newest, target = checkpoints.latest_step() or 0, abstract(init, key, frozen)
    if newest > cfg.steps:
        raise ConfigError(f"steps={cfg.steps}: {workdir} has already trained {newest} steps")
    if newest:
        trained = read_config(workdir, "--workdir")
        check_state(cfg, trained, workdir)
        task.check_resume(trained, workdir)
        state, first = checkpoints.restore(target)
        logger.info("resuming after step %d of %s", first, workdir)
        tell_changes(cfg, trained, first)
        return state, first
    state = jax.jit(init)(key, frozen)
    if cfg.init_from:
        check_run(cfg.init_from, cfg, tokenizer)
        weights = restore_ema(cfg.init_from, target["ema"], "init_from")
        state["params"] = replaced(state["params"], jax.tree.map(jnp.copy, weights))
        state["ema"] = weights
    return state, 0


def log_parameters(params: Params) -> int:
    """Logs a table of the parameters; returns how many there are."""
    count = parameter_overview.count_parameters(params)
    table = parameter_overview.get_parameter_overview(params, include_stats=False)
    logger.info("%s parameters\n%s", format_count(count), table)
    return int(count)


def write_summary(workdir: Path, cfg: Config, plan: Plan, parameters: int) -> None:
    """Writes summary.json: size, steps, padding and seconds by activity of a finished run."""
    if jax.process_index() == 0:
        summary = {
            "parameters": parameters,
            "steps": cfg.steps,
            "padding": 1 - plan.fill(range(min(cfg.steps, PADDING_STEPS))),
            "seconds": total_goodput(workdir),
        }
        write_json(workdir / "summary.json", summary)


def plan_metrics(plan: Plan, task: Task, step: int) -> tuple[dict[str, float], Flops]:
    """The plan's figures for a step (data/planning/plan.py), and the FLOPs of the step.

    `flops_saved` is the share of useful FLOPs that dropping tokens saves.
    """
    clips = step_clips(plan, step)
    flops = task.flops(clips, step)
    whole = task.flops(clips.whole, step).useful
    saved = 1 - flops.useful / whole if whole else 0.0  # a step may be without clips
    return {**plan.metrics(step, axis_size("batch")), "flops_saved": saved}, flops


def step_clips(plan: Plan, step: int) -> Clips:
    """The clips of a step, as the plan has them; no frame is read."""
    tokens, _, text = np.array(plan.lengths(step), int).reshape(-1, 3).T
    sizes = [(clip.frames, clip.height, clip.width) for row in plan.rows(step) for clip in row]
    frames, height, width = np.array(sizes, int).reshape(-1, 3).T
    return Clips(np.stack(grid(frames, height, width, plan.patch), axis=-1), tokens, text)


def check_rows(cfg: Config) -> None:
    """Raises ConfigError unless every micro-batch has the same number of rows on every device."""
    ways = cfg.optim.accumulate * axis_size("batch")
    expected = f"a multiple of {ways}, as the mesh and optim.accumulate have it"
    check(cfg.data.batch_rows % ways == 0, "data.batch_rows", cfg.data.batch_rows, expected)
