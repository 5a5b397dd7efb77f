"""Raw videos to a dataset: shards of encoded clips, their catalog, and a tokenizer.

    python -m tools.curate --input=FILE_OR_FOLDER --out=FOLDER --shapes=96x56x17@12,96x56x1

A shape is WIDTHxHEIGHTxFRAMES[@FPS]. One frame is an image; without FPS the clips keep the film's
rate. Every shape cuts each shot anew, so a moment may be in several clips of different shapes.
Films are cropped around the centre and made smaller, never larger.

Shots and captions come from VIDEO.jsonl beside VIDEO.mp4, one shot a line: {"start": first frame,
"end": frame after the last, "fps": the film's, "caption": TEXT}, or "captions": [TEXT, ...]. A film
without that file is one shot, and each of its clips gets a caption of measured facts.

The end of each long shot is held out for validation; all shapes hold out the same moments. A second
run cuts only the films that are not done yet.
"""

from absl import flags

from videodit.curation.cuts import parse_shapes
from videodit.curation.dataset import curate
from videodit.entry import run_command
from videodit.folders import check_folder


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    args = flags.FLAGS
    check_folder(args.out, "--out")
    curate(
        args.input,
        args.out,
        parse_shapes(args.shapes),
        val_fraction=args.val_fraction,
        vocab_size=args.vocab_size,
        tokenizer=args.tokenizer,
        max_clips=args.max_clips,
    )


if __name__ == "__main__":
    flags.DEFINE_string("input", None, "a video, or a folder of videos", required=True)
    flags.DEFINE_string("out", None, "folder of the dataset", required=True)
    flags.DEFINE_string("shapes", None, "WIDTHxHEIGHTxFRAMES[@FPS],...", required=True)
    flags.DEFINE_float("val_fraction", 0.15, "share of each shot's time that is held out")
    flags.DEFINE_integer("vocab_size", 512, "most tokens of a tokenizer trained on the captions")
    flags.DEFINE_string("tokenizer", "", "folder with the tokenizer.model to use instead")
    flags.DEFINE_integer("max_clips", 0, "stop after this many clips; 0 is no limit")
    run_command(main)
