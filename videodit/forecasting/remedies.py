"""Finds a change of a config that makes its train step fit; the cheapest is tried first."""

from collections.abc import Callable, Iterator

from videodit.config import Changes, Config, ConfigError, changed
from videodit.forecasting.forecast import Forecast
from videodit.nn.block import REMAT

MARGIN = 1.1  # times the chip's memory: only estimates above it are believed


def as_flags(changes: Changes) -> str:
    """These changes as flags to type."""
    return " ".join(f"--config.{name}={value}" for name, value in changes.items())


def candidates(cfg: Config, mesh: dict[str, int]) -> Iterator[Changes]:
    """Changes that save memory, the cheapest first: the last ones change what is trained.

    They are tried alone first, then together. mesh: devices along each axis.
    """
    ways, accumulate = mesh["data"] * mesh["fsdp"], cfg.optim.accumulate
    rows = cfg.data.batch_rows // (ways * accumulate)  # rows that a device holds at a time
    singles: list[Changes] = [
        {"optim.accumulate": accumulate * n} for n in (2, 4, 8) if rows % n == 0
    ]
    names = list(REMAT)
    smaller = names[names.index(cfg.compute.remat) + 1 :]
    singles += [{"compute.remat": name} for name in smaller]
    if mesh["data"] > 1:
        singles += [
            {"mesh.data": mesh["data"] // n, "mesh.fsdp": mesh["fsdp"] * n}
            for n in sorted({2, mesh["data"]})
            if mesh["data"] % n == 0
        ]
    if cfg.optim.memory == "device":
        singles.append({"optim.memory": "host"})
    yield from singles
    if mesh["data"] % 2 == 0:  # half as many groups of devices take the same rows in two turns
        split = {"mesh.data": mesh["data"] // 2, "mesh.context": mesh["context"] * 2}
        yield split | {"optim.accumulate": accumulate * 2}
    both: Changes = {}
    for change in singles:
        both |= change
        if both != change:
            yield dict(both)
    for n in (2, 4):
        if rows % n == 0:
            yield both | {
                "data.batch_rows": cfg.data.batch_rows // n,
                "optim.accumulate": accumulate,
            }


def estimate(found: Forecast, cfg: Config) -> float:
    """A lower estimate of the bytes of a chip for `cfg`, scaled from another config's Forecast.

    The state scales with the devices that share it, the temporaries with the tokens that a device
    holds at a time. With another remat policy the temporaries are not known and are left out.
    """
    memory, old, new = found.memory, _shares(found.cfg, found), _shares(cfg, found)
    optimizer = 0 if cfg.optim.memory == "host" else memory.optimizer
    state = (memory.parameters + memory.ema + optimizer) * old[0] / new[0]
    if cfg.compute.remat != found.cfg.compute.remat:
        return state
    return state + memory.temporaries * new[1] / old[1]


def _shares(cfg: Config, found: Forecast) -> tuple[float, float]:
    """The number of devices that share the state, and of tokens that a device holds at a time."""
    shape = {axis: getattr(cfg.mesh, axis) for axis in found.mesh.axis_names}
    fixed = 1
    for size in shape.values():
        fixed *= max(size, 1)
    shape = {axis: found.mesh.size // fixed if n == -1 else n for axis, n in shape.items()}
    rows = cfg.data.batch_rows / (shape["data"] * shape["fsdp"] * cfg.optim.accumulate)
    tokens = rows * cfg.data.row_tokens / (shape["ring"] * shape["context"])
    return shape["fsdp"] * shape["tensor"], tokens


def find_remedy(
    found: Forecast,
    compile_config: Callable[[Config], Forecast],
    tell: Callable[[str], None] = print,
) -> tuple[Changes, Forecast] | None:
    """The first of the candidates with which the step fits, and its Forecast; None if none does.

    tell: gets a line for each that is compiled.
    """
    for changes in candidates(found.cfg, dict(found.mesh.shape)):
        try:
            cfg = changed(found.cfg, changes)
            if estimate(found, cfg) > MARGIN * found.chip.memory:
                continue
            tell(f"trying {as_flags(changes)}")
            tried = compile_config(cfg)
        except ConfigError:
            continue  # the mesh, the heads or the rows do not divide
        if tried.fits:
            return changes, tried
    return None
