"""From the config that a user wrote to the one that a run follows."""

from collections.abc import Callable
from dataclasses import replace

from videodit.config import SYNTHETIC, ComputeConfig, Config, DataConfig
from videodit.nn import kernels
from videodit.nn.block import check_remat, check_shape
from videodit.nn.kernel_check import resolve_attention, resolve_attention_anew
from videodit.tasks.registry import task_class

TEXT_SHARE = 8  # a row's text tokens where no captions are there to choose by: L / 8


def resolve(
    cfg: Config,
    open_data: Callable[[Config], DataConfig] | None = None,
    attention: Callable[[ComputeConfig], ComputeConfig] = resolve_attention,
) -> Config:
    """The config of a run with all open fields filled in:

      by other runs     the shape of the trained autoencoder that a task uses (`Task.resolve`)
      by the data       data.text_tokens, as many as captions need, where it is 0
      by the machine    compute.attention, a kernel that works here

    open_data: opens the data of a config and gives their config with text_tokens chosen; None where
    no data are there, as for a forecast: they are guessed. attention: `resolve_attention`, or
    another of this file. Raises ConfigError for what cannot be.
    """
    cfg = task_class(cfg).resolve(cfg)
    cfg = replace(cfg, data=open_data(cfg)) if open_data else _without_data(cfg)
    return replace(cfg, compute=attention(cfg.compute))


def check_model(cfg: Config) -> None:
    """Raises ConfigError for a size, remat policy or attention kernel that cannot be; it is cheap.

    cfg: as `Task.resolve` gives it, on the mesh of the run.
    """
    for shape in task_class(cfg).shapes(cfg):
        check_shape(shape)
    check_remat(cfg.compute)
    kernels.resolve(cfg.compute.attention)


def resolve_trained(cfg: Config) -> Config:
    """The config of a trained run, for using its weights on this machine."""
    return resolve(cfg, attention=resolve_attention_anew)


def resolve_elsewhere(cfg: Config) -> Config:
    """The config of a run on absent devices, whose kernels cannot be tried."""
    return resolve(cfg, attention=lambda compute: compute)


def _without_data(cfg: Config) -> Config:
    text_tokens = cfg.data.text_tokens or cfg.data.row_tokens // TEXT_SHARE
    text = replace(cfg.text, workdir=cfg.text.workdir or SYNTHETIC)
    return replace(cfg, data=replace(cfg.data, text_tokens=text_tokens), text=text)
