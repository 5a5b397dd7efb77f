"""What every test stands on: eight fake CPU devices, caches, meshes by shape."""

import os
from pathlib import Path

import jax
import pytest
from absl import flags
from hypothesis import settings

from videodit.config import MeshConfig
from videodit.sharding import make_mesh

CACHE = Path(__file__).parents[1] / ".cache" / "jax"
SETTINGS = {
    "jax_platforms": os.environ.get("JAX_PLATFORMS", "cpu"),  # the fake devices are CPU devices
    "jax_compilation_cache_dir": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(CACHE)),
    "jax_persistent_cache_min_compile_time_secs": 0.3,
}
for name, value in SETTINGS.items():
    jax.config.update(name, value)
    os.environ[name.upper()] = str(value)  # for the processes that tests start

# Most of the tests' time is compilation, and machine code that runs once need not be fast.
FAST_TO_COMPILE = ["--xla_backend_optimization_level=0", "--xla_cpu_prefer_vector_width=128"]
FAST_TO_COMPILE += ["--xla_cpu_parallel_codegen_split_count=1"]
if jax.__version_info__ < (0, 11):  # later versions have only the slow emitter, and no such flag
    FAST_TO_COMPILE += ["--xla_cpu_use_fusion_emitters=false"]
os.environ["XLA_FLAGS"] = " ".join([*FAST_TO_COMPILE, os.environ.get("XLA_FLAGS", "")])
jax.config.update("jax_num_cpu_devices", 8)
flags.FLAGS.mark_as_parsed()  # grain reads absl flags

# The same examples in every run, and no limit on the time of one: machines differ.
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.load_profile("same")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache of remote files and catalogs that ends with the tests."""
    os.environ["VIDEODIT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def mesh():
    """`with mesh(data, fsdp, context, tensor, ring):` an explicit mesh, the current one."""

    def use(data: int = 1, fsdp: int = 1, context: int = 1, tensor: int = 1, ring: int = 1):
        return jax.set_mesh(make_mesh(MeshConfig(data, fsdp, ring, context, tensor)))

    return use
