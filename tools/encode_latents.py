"""The latents of every clip of a dataset, made once, for data.latents of a diffusion run.

    python -m tools.encode_latents --autoencoder=runs/autoencoder --data=DATA --out=DATA_LATENTS

--data is what data.catalog names; for a data.mixture give all its sources, with commas between.
Every clip is encoded whole, at its own size, by the EMA weights of the autoencoder, in the number
format that it was trained in. videodit/data/sources/latents.py describes OUT. Damaged clips are
named and left out.

The rows of a batch are shared out over all devices of the process. A second run makes only the
shards that are missing. Several processes with a common OUT share out the shards: processes that
jax joins (as for videodit.main) do so by themselves, others by --hosts=N --host=0, 1, ... The last
one to finish writes the catalog.
"""

import logging

import jax
from absl import flags
from absl import logging as absl_logging
from jax.experimental import multihost_utils

from videodit.config import MeshConfig
from videodit.curation.latent_shards import encode_latents
from videodit.curation.latents import Rows
from videodit.data.sources.latents import DTYPES
from videodit.entry import run_command
from videodit.folders import check_folder
from videodit.sharding import join_processes


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # libraries
    logging.getLogger("videodit").setLevel(logging.INFO)
    args = flags.FLAGS
    if "://" not in args.out:
        check_folder(args.out, "--out")
    join_processes(MeshConfig())
    encode_latents(
        args.autoencoder,
        args.data,
        args.out,
        kind=args.kind,
        tokenizer=args.tokenizer,
        dtype=args.dtype,
        rows=Rows(args.row_tokens, args.batch_rows, args.workers),
        host=jax.process_index() if args.host is None else args.host,
        hosts=jax.process_count() if args.hosts is None else args.hosts,
    )
    if jax.process_count() > 1:  # or the first to end would take the others down
        multihost_utils.sync_global_devices("encode_latents")


if __name__ == "__main__":
    flags.DEFINE_string("autoencoder", None, "folder of a trained autoencoder", required=True)
    flags.DEFINE_string("kind", "videodit", "what autoencoder.kind calls it")
    flags.DEFINE_string("data", None, "what data.catalog names, or several", required=True)
    flags.DEFINE_string("out", None, "folder of the latents", required=True)
    flags.DEFINE_string("tokenizer", "", "folder with the tokenizer.model that counted captions")
    flags.DEFINE_enum("dtype", "float32", list(DTYPES), "stored format; others than float32 round")
    flags.DEFINE_integer("row_tokens", 0, "tokens of a row; 0: as trained, or as the longest clip")
    flags.DEFINE_integer("batch_rows", 0, "rows of this process's batch; 0: as trained")
    flags.DEFINE_integer("workers", -1, "decoding processes; -1: as trained")
    flags.DEFINE_integer("host", None, "number of this machine, from 0")
    flags.DEFINE_integer("hosts", None, "machines that encode this dataset together")
    run_command(main)
