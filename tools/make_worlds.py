"""Makes a dataset of captioned clips whose truth is known, rendered by a world of videodit/worlds.

    python -m tools.make_worlds --world=sprites --clips=20000 --out=FOLDER

Into FOLDER it writes what tools.curate writes (shards, catalog, tokenizer; a short and a long
caption for each clip) and truth/ with every fact of every clip (videodit/worlds/truth.py). The
splits are train, val, test and combinations, whose clips show pairs of attributes that no other
split shows.

A clip is a function of (--seed, split, number); videodit/worlds/clip_shapes.py draws its size, its
number of frames and its rate. A second run makes only the shards that are missing. Several machines
with a common FOLDER share the work: give each of N machines --hosts=N and its --host=0, 1, ...; the
last one to finish writes the catalog.
"""

import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

import videodit.worlds
from videodit.config import ConfigError, check
from videodit.curation.processes import in_processes
from videodit.data.progress import Progress
from videodit.data.sources.catalog import SPLITS, Catalog
from videodit.data.sources.shards import (
    is_finished,
    pick_tokenizer,
    read_rows,
    write_catalog,
    write_shard,
)
from videodit.data.video.files import CLIP_OPTIONS
from videodit.entry import run_command
from videodit.files import replacing
from videodit.folders import check_folder
from videodit.worlds.clip_shapes import Shapes, clip_seed, define_flags, shapes_from_flags
from videodit.worlds.truth import Truth, truth_file, write_truth
from videodit.worlds.world import WORLDS, Clip, Shape, check_choices, open_world

SHARD_CLIPS = 250
MOST_TRIED = 1000  # numbers of clips above the one asked for
TOKENIZER_CLIPS = 20_000  # a new tokenizer is trained on the captions of so many clips
WORLDS_FOLDER = Path(videodit.worlds.__file__).parent
NO_CLIPS = ("detector", "matching", "truth")  # files on which no clip depends


class Shard(NamedTuple):
    """The clips of a split with start <= number < stop."""

    world: str
    seed: int
    shapes: Shapes
    scenes: str
    split: str
    start: int
    stop: int
    code: str  # the digest of the code that makes the clips

    @property
    def name(self) -> str:
        """Its file's name, which differs for shards with other clips."""
        digest = hashlib.sha256(repr((self, CLIP_OPTIONS)).encode()).hexdigest()[:8]
        return f"{self.world}-{self.split}-{self.start:08d}-{digest}"


def make_worlds(
    world: str,
    out: str | os.PathLike,
    clips: int,
    shapes: Shapes,
    *,
    scenes: str = "all",
    seed: int = 0,
    held_out: float = 0.05,
    tokenizer: str = "",
    vocab_size: int = 512,
    workers: int = 0,
    host: int = 0,
    hosts: int = 1,
) -> Catalog | None:
    """Makes this host's shards of the dataset `out`, and its catalog if all shards are there.

    `scenes`: one of worlds/world.py:SCENES. `held_out`: the share of the clips that goes to each
    split other than train. `tokenizer`, `vocab_size`: as in tools.curate. `workers`: number of
    processes; 0 starts one for each core.
    Returns the catalog, or None if other hosts have shards to make. Raises ConfigError for wrong
    arguments and for a simulator that is not installed.
    """
    check(bool(str(out)), "out", out, "a folder")
    check(0 <= host < hosts, "host", host, f"from 0 to hosts - 1, which is {hosts - 1}")
    check_folder(out, "out")
    check_choices(open_world(world), "seen", scenes)  # fails before any process starts
    out = Path(out)
    shards = plan(world, seed, shapes, scenes, clips, held_out)
    make_all(shards[host::hosts], out, workers)
    left = sum(not is_finished(out, shard.name) for shard in shards)
    if left:
        print(f"{left} of {len(shards)} shards are left to the other hosts")
        return None
    rows = [row for shard in shards for row in read_rows(out, shard.name)]
    texts = rows[:TOKENIZER_CLIPS]  # the training clips are first
    catalog = write_catalog(out, rows, pick_tokenizer(tokenizer, out, texts, vocab_size))
    summarize(catalog, rows, out)
    return catalog


def plan(
    world: str, seed: int, shapes: Shapes, scenes: str, clips: int, held_out: float
) -> list[Shard]:
    """The shards of all splits, those of train first.

    Raises ConfigError if no clip is left for training, or no clip can have these shapes.
    """
    check(0 <= held_out < 1, "held_out", held_out, "at least 0 and below 1")
    shapes.draw(0)  # raises an error if the bounds are wrong
    counts = split_clips(clips, held_out)
    if counts["train"] < 1:
        tried = range(clips, clips + MOST_TRIED)
        needed = next((n for n in tried if split_clips(n, held_out)["train"] >= 1), None)
        check(needed is not None, "held_out", held_out, "below 1/3, as 3 splits are held out")
        check(False, "clips", clips, f"at least {needed}, to hold out {held_out:.0%} three times")
    code = digest_code(world)
    return [
        Shard(world, seed, shapes, scenes, split, start, min(start + SHARD_CLIPS, count), code)
        for split, count in counts.items()
        for start in range(0, count, SHARD_CLIPS)
    ]


def split_clips(clips: int, held_out: float) -> dict[str, int]:
    """The number of clips of each split; that of train is below 1 if there are too few."""
    counts = dict.fromkeys(SPLITS, max(1 if held_out else 0, round(held_out * clips)))
    counts["train"] = clips - sum(counts[split] for split in SPLITS[1:])
    return counts


def make_all(shards: list[Shard], out: Path, workers: int) -> None:
    """Makes the missing ones of these shards in so many processes; 0 starts one for each core."""
    missing = [shard for shard in shards if not is_finished(out, shard.name)]
    total, clips = (sum(shard.stop - shard.start for shard in some) for some in (shards, missing))
    progress = Progress(total, "clips")
    progress.skip(total - clips)
    for count in in_processes(functools.partial(make_shard, out=out), missing, workers):
        progress.advance(count)


def make_shard(shard: Shard, out: Path) -> int:
    """Writes a shard and the truth of its clips; returns the number of clips."""
    return len(write_shard(out, shard.name, make_clips(shard, truth_file(out, shard.name))))


def make_clips(shard: Shard, truth: Path) -> Iterator[tuple[np.ndarray, dict]]:
    """A shard's clips, as frames (uint8 T H W 3) and row. Writes their truth after the last one.

    `truth`: the file of the truth. An error of the world gets a note that says how to repeat it.
    """
    world, truths = open_world(shard.world), []
    combinations = "held_out" if shard.split == "combinations" else "seen"
    for number in range(shard.start, shard.stop):
        name = f"{shard.world}/{shard.split}/{number:08d}"
        seed = clip_seed(shard.seed, shard.split, number)
        shape = shard.shapes.draw(seed)
        try:
            clip = world.make(seed, shape, combinations, shard.scenes)
        except Exception as error:
            made = f"{shape}, {combinations}, {shard.scenes}"
            error.add_note(f"clip {name}: {shard.world}, seed {seed}, {made}")
            raise
        texts = (*clip.short, *clip.long)
        asked = (name, shard.world, seed, combinations, shard.scenes)
        truths.append(Truth(*asked, *texts, clip.slots, clip.states))
        yield clip.frames, clip_row(name, shape, clip, shard.split)
    truth.parent.mkdir(parents=True, exist_ok=True)
    with replacing(truth) as temporary:
        write_truth(temporary, truths)


def clip_row(name: str, shape: Shape, clip: Clip, split: str) -> dict:
    """A clip's row of the catalog, in the form of videodit/data/sources/shards.py."""
    captions = (clip.short.text, clip.long.text)
    return {"id": name, "shape": shape, "fps": clip.fps, "captions": captions, "split": split}


def summarize(catalog: Catalog, rows: list[dict], out: Path) -> None:
    """Prints the number of clips of each split, the hours of video and the bytes."""
    for split in SPLITS:
        if count := (catalog.split == split).sum():
            print(f"{split:>14} {count:8d}")
    moving = catalog.frames > 1
    hours = (catalog.frames / catalog.fps)[moving].sum() / 3600
    megabytes = sum(row["bytes"] for row in rows) / 1e6
    print(
        f"{len(catalog)} clips ({catalog.frames.sum()} frames: {hours:.2f} hours of video and "
        f"{(~moving).sum()} images, {megabytes:.1f} MB) are in {out}"
    )


def digest_code(world: str, folder: Path = WORLDS_FOLDER) -> str:
    """A digest of the code that decides what the world's clips are.

    These are the files beside the worlds' folders and those of the world, without its detector.
    """
    files = [*folder.glob("*.py"), *folder.glob(f"{world}/*.py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        if file.stem not in NO_CLIPS:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError, also for an OSError.

    After an OSError such as a full disk, the same command continues where it stopped.
    """
    args = flags.FLAGS
    try:
        make_worlds(
            args.world,
            args.out,
            args.clips,
            shapes_from_flags(),
            scenes=args.scenes,
            seed=args.seed,
            held_out=args.held_out,
            tokenizer=args.tokenizer,
            vocab_size=args.vocab_size,
            workers=args.workers,
            host=args.host,
            hosts=args.hosts,
        )
    except OSError as error:
        raise ConfigError(f"--out={args.out!r}: {error}") from None


if __name__ == "__main__":
    flags.DEFINE_string("world", None, "name of a world: " + ", ".join(WORLDS), required=True)
    flags.DEFINE_string("out", None, "folder of the dataset", required=True)
    flags.DEFINE_integer("clips", None, "clips of all splits together", required=True)
    flags.DEFINE_string("scenes", "all", "all, or one: a single object on a plain ground")
    define_flags()
    flags.DEFINE_integer("seed", 0, "another seed makes other clips")
    flags.DEFINE_float("held_out", 0.05, "share of the clips in each of val, test, combinations")
    flags.DEFINE_string("tokenizer", "", "folder with the tokenizer.model to use")
    flags.DEFINE_integer(
        "vocab_size", 512, "largest vocabulary of a tokenizer trained on the captions"
    )
    flags.DEFINE_integer("workers", 0, "number of processes; 0: one for each core")
    flags.DEFINE_integer("host", 0, "number of this machine, from 0")
    flags.DEFINE_integer("hosts", 1, "number of machines that make this dataset together")
    run_command(main)
