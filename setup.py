"""Package metadata; the exact versions of a known-good environment are in requirements/."""

from setuptools import find_packages, setup

# Error messages name commands of all four, so a wheel holds all four.
PACKAGES = ["videodit", "tools", "launch", "configs"]

# The simulators of videodit/worlds: 106 MB to download with what they need.
WORLDS = ["crafter>=1.8.3", "minigrid>=3.2", "panda3d>=1.10.16", "vizdoom>=1.3.2"]

setup(
    name="videodit",
    version="0.1.0",
    description="Pretrain Sora-like text-to-video models in JAX, from raw video to samples",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=[*PACKAGES, *(f"{name}.*" for name in PACKAGES)]),
    package_data={
        "launch": ["*.sh"],
        "videodit.curation": ["*.jsonl"],
        "videodit.worlds.stage": ["*.npz"],
    },
    install_requires=[
        "absl-py",
        "array-record",
        "av>=14",  # PyAV: its wheels bring FFmpeg with x264
        "clu",
        "duckdb>=1.2",
        "etils[epath]",
        "flax>=0.12.8",
        "grain>=0.2.18",
        "jax>=0.10.2",
        "ml-collections",
        "ml-dtypes",
        "numpy>=2",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.4",
        "pillow",
        "pyarrow",
        "safetensors",
        "scipy",
        "sentencepiece",
        "tensorboardX",
        "tensorflow-datasets>=4.9.10",
    ],
    extras_require={
        "test": [
            "hypothesis",
            "mypy",
            "pytest",
            "pytest-xdist",
            "ruff",
            "setuptools>=70.1",
            *WORLDS,
        ],
        "cuda": ["jax[cuda12]>=0.10.2"],
        "gcs": ["gcsfs"],
        "tpu": ["jax[tpu]>=0.10.2"],
        "worlds": WORLDS,
    },
)
