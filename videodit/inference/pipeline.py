"""A trained diffusion run as a library: requests in, clips out.

  pipeline = Pipeline.read("runs/demo/dit")
  for index, clip in pipeline(requests): ...

Weights are loaded once, and a program is compiled once for each shape of a group of requests
(inference/packing.py). Memory does not grow with the number of requests.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videodit.checkpoint import check_digests, read_config, restore_ema
from videodit.config import Config, ConfigError, MeshConfig, changed
from videodit.data.loader import place
from videodit.data.packing import PackedBatch, unpack
from videodit.data.tokenizer import Tokenizer
from videodit.inference.codec import Codec, NotFinite
from videodit.inference.packing import Packer, RequestGroup
from videodit.inference.request import Request, configured_requests
from videodit.inference.sampling import sample_latents
from videodit.models.autoencoder import to_bytes
from videodit.sharding import abstract, first_rows, make_mesh, replicate, target_device
from videodit.tasks.registry import expect_generative, make_task, task_class
from videodit.tasks.resolve import resolve_trained
from videodit.tasks.task import Drawing, Generative

BROKEN = "expected weights of a sound checkpoint"
GROUP_TOKENS = 16384  # of a device: enough to keep an accelerator busy; one row is, for a CPU


class Pipeline:
    """Clips of a task's model, on the mesh that is current when the pipeline is made.

    `cfg` is the config of the task, with data.text_tokens known. A device takes at most
    `group_tokens` tokens at a time, but at least one row; by default it takes one row on a CPU and
    GROUP_TOKENS elsewhere.
    Raises ConfigError if the model cannot make the configured samples (cfg.sample).
    """

    def __init__(
        self,
        task: Generative,
        cfg: Config,
        tokenizer: Tokenizer,
        params: Any = None,
        frozen: Any = None,
        *,
        group_tokens: int | None = None,
    ) -> None:
        self.cfg, self._task, self._params, self._frozen = cfg, task, params, frozen
        self._mesh = jax.sharding.get_mesh()
        self._packer = make_packer(cfg, tokenizer, group_tokens)
        self._samples = configured_requests(cfg.sample)
        self._packer.groups(self._samples)
        self._run = jax.jit(self._sample)
        self._whole: Codec | None = None  # decodes clip by clip if the task's codec is not packed

    @classmethod
    def read(
        cls,
        workdir: str | Path,
        field: str = "workdir",
        *,
        requests: Sequence[Request] = (),
        group_tokens: int | None = None,
        **sample: Any,
    ) -> "Pipeline":
        """A pipeline with the EMA weights of a diffusion run, sharded over all devices.

        `sample` replaces fields of the run's SampleConfig (steps, guidance, solver). Raises
        ConfigError before any weights are read, if `workdir` is not such a run (the error calls it
        `field`) or if its model cannot make one of `requests`.
        """
        cfg = read_config(workdir, field)
        expect_generative(cfg, field, workdir)
        cfg = changed(cfg, {f"sample.{name}": value for name, value in sample.items()})
        with jax.set_mesh(make_mesh(sampling_mesh(cfg, len(jax.devices())))):
            tokenizer = Tokenizer.read(workdir)
            make_packer(cfg, tokenizer, group_tokens).groups(requests)
            cfg = changed(resolve_trained(cfg), {"compute.gather": "layer"})
            task = make_task(cfg, tokenizer)
            if not isinstance(task, Generative):  # it has the methods, but no codec or channels
                raise ConfigError(f"task={cfg.task!r}: expected a task that makes clips")
            frozen = task.make_frozen(())
            check_digests(workdir, task.digests(frozen), cfg)
            target = abstract(task.init, jax.random.key(0), frozen)
            params = restore_ema(workdir, target, field)
            return cls(task, cfg, tokenizer, params, frozen, group_tokens=group_tokens)

    def with_params(self, params: Any, frozen: Any) -> "Pipeline":
        """The same pipeline, and its compiled programs, with other weights."""
        other = copy.copy(self)
        other._params, other._frozen, other._whole = params, frozen, None
        return other

    def __call__(self, requests: Sequence[Request]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the index and the clip (T H W 3 uint8) of each request, once its group is done.

        Raises ConfigError at once, not when the iterator is used, for a request that the model
        cannot make.
        """
        requests = list(requests)
        return self._clips(requests, self._packer.groups(requests))

    def groups(self, requests: Sequence[Request]) -> list[list[int]]:
        """Indices of the requests by group, in the order in which `pipeline(requests)` makes them.

        Raises ConfigError as `pipeline(requests)` does.
        """
        return [group.order() for group in self._packer.groups(requests)]

    def drawings(self) -> list[Drawing]:
        """The configured samples, in the order of their prompts."""
        requests, clips = self._samples, dict(self(self._samples))
        return [
            Drawing(f"sample_{r.seed}", clips[i], r.fps, r.prompt, "sample", str(r.seed))
            for i, r in enumerate(requests)
        ]

    def _clips(
        self, requests: list[Request], groups: list[RequestGroup]
    ) -> Iterator[tuple[int, np.ndarray]]:
        for group in groups:
            yield from zip(group.order(), self._sample_group(requests, group))

    def _sample_group(self, requests: list[Request], group: RequestGroup) -> list[np.ndarray]:
        batch = self._packer.batch(group, requests)
        with self._on_mesh():
            values, finite = self._run(self._params, self._frozen, place(batch))
            values = jax.device_get(first_rows(values, len(batch.valid)))
        asked = [requests[i] for i in group.order()]
        if not finite:
            what = f"{asked[0].prompt!r}" + (f" and {len(asked) - 1} more" if asked[1:] else "")
            raise NotFinite(f"the samples are not finite (prompts {what}): {BROKEN}")
        if not self._task.codec.packed:
            return self._decode_whole(unpack(values, batch, (1, 1, 1)), asked)
        sizes = [(r.frames, r.height, r.width) for r in asked]
        return unpack(values, batch, self.cfg.autoencoder.patch, sizes)

    def _decode_whole(self, latents: list[np.ndarray], requests: list[Request]) -> list[np.ndarray]:
        """Clips T H W 3 uint8 of latents t h w C, decoded one by one on one device."""
        if self._whole is None:
            self._whole = self._make_whole()
        clips = []
        with jax.set_mesh(make_mesh(MeshConfig(data=1), jax.local_devices()[:1])):
            for clip, r in zip(latents, requests):
                frames = self._whole.decode_stream([clip], r.fps, (r.height, r.width))
                clips.append(np.concatenate(list(frames))[: r.frames])
        return clips

    def _make_whole(self) -> Codec:
        """The codec of the frozen parameters, with the compiled programs of the task's codec."""
        with self._on_mesh():
            params = jax.device_get(replicate(self._frozen["autoencoder"]))
        cfg = self.cfg
        return Codec(cfg.autoencoder, cfg.compute, params, codec=self._task.codec)

    def _sample(self, params: Any, frozen: Any, batch: PackedBatch) -> tuple[jax.Array, jax.Array]:
        """Pixels B L P uint8 of all clips of a batch, and whether all are finite before rounding.

        If the codec is not packed: latents B L C instead of pixels.
        """
        cfg, task = self.cfg, self._task
        latents = sample_latents(task, cfg.sample, cfg.flow, params, frozen, batch)
        packed = task.codec.packed
        values = (
            task.decode(frozen, latents, batch) if packed else task.denormalise(frozen, latents)
        )
        finite = jnp.isfinite(values).all(-1) | (batch.segment_ids == 0)
        return to_bytes(values) if packed else values, finite.all()

    def _on_mesh(self) -> AbstractContextManager:
        return nullcontext() if self._mesh.empty else jax.set_mesh(self._mesh)


def make_packer(cfg: Config, tokenizer: Tokenizer, group_tokens: int | None = None) -> Packer:
    """The packer of a model's requests on the current mesh; group_tokens as in `Pipeline`."""
    if group_tokens is None:
        group_tokens = 0 if target_device().platform == "cpu" else GROUP_TOKENS
    return Packer(cfg, tokenizer, group_tokens)


def sampling_mesh(cfg: Config, devices: int) -> MeshConfig:
    """Rows are sharded over all devices, weights over as many as divide the model's widths."""
    widths = [shape.width for shape in task_class(cfg).shapes(cfg)]
    return MeshConfig(fsdp=math.gcd(devices, *widths))
