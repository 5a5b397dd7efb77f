"""What can be configured of the data: sources, rows, modes, and how clips are viewed."""

from dataclasses import dataclass, field, replace

from videodit.config.errors import ConfigError, check, check_positive

SYNTHETIC = "synthetic"  # value of data.catalog and text.workdir: clips and captions made in memory


@dataclass(frozen=True)
class ModeWeights:
    """How often each mode of given tokens is trained (data/planning/given.py): relative weights."""

    generate: float = 1.0  # nothing given: text to video, text to image
    animate: float = 0.0  # the first latent frame is given
    extend: float = 0.0  # about the first half is given, in whole chunks of the autoencoder
    prepend: float = 0.0  # the last half is given
    connect: float = 0.0  # the first and the last latent frame are given
    inpaint: float = 0.0  # all but a box is given


Table = tuple[tuple[float, ...], ...]  # rows (from step, values): each holds until the next one


@dataclass(frozen=True)
class ViewConfig:
    """Schedules over training: the part and the size at which a clip is seen
    (data/planning/picks.py).

    An empty table leaves clips as they are. Clips are never enlarged and keep their aspect ratio.
    """

    sides: Table = ()  # (step, least, most): sqrt(width * height) in pixels, uniform
    # (step, least, most): duration, uniform, to whole patches; a random part of a longer clip.
    seconds: Table = ()
    rates: Table = ()  # (step, fps, ...): one of them is approached by leaving frames out
    images: Table = ()  # (step, share): images' share of the tokens of each source that has both
    drop: Table = ()  # (step, most, a, b): most * Beta(a, b) of a clip's tokens, at random
    drop_static: Table = ()  # (step, share): of the patches that repeat the previous frame
    # Only autoencoders may use the next two: captions would become wrong.
    mirror: Table = ()  # (step, share): of the draws that are flipped, left for right
    reverse: Table = ()  # (step, share): of the draws that are played backwards

    def __post_init__(self) -> None:
        values = {"sides": 2, "seconds": 2, "rates": 0, "drop": 3}
        shares = ("images", "drop_static", "mirror", "reverse")
        for name, count in (values | dict.fromkeys(shares, 1)).items():
            _check_table(f"data.views.{name}", getattr(self, name), count)
        for name in ("sides", "seconds", "rates"):
            rows = getattr(self, name)
            good = all(value > 0 for row in rows for value in row[1:])
            check(good, f"data.views.{name}", rows, "values above 0")
        for name in ("sides", "seconds"):
            rows = getattr(self, name)
            good = all(row[1] <= row[2] for row in rows)
            check(good, f"data.views.{name}", rows, "rows (step, least, most)")
        for name in (*shares, "drop"):
            rows = getattr(self, name)
            good = all(0 <= row[1] <= 1 and min(row[2:], default=1) > 0 for row in rows)
            check(good, f"data.views.{name}", rows, "a share of 0 to 1 behind each step")


def _check_table(name: str, rows: Table, values: int) -> None:
    """Raises ConfigError unless each row is a step and `values` numbers (0: one or more), and the
    steps rise from 0.
    """
    steps = [row[0] for row in rows if row]
    good = len(steps) == len(rows) and steps == sorted(set(steps)) and (not steps or not steps[0])
    check(good, name, rows, "rows whose first numbers are rising steps, the first of them 0")
    sizes = {len(row) - 1 for row in rows}
    good = sizes <= {values} if values else 0 not in sizes
    check(good, name, rows, f"{values or 'some'} numbers behind each step")


# Far beyond any machine: larger values would only exhaust its memory.
MOST = {
    "row_tokens": 2**24,
    "text_tokens": 2**24,
    "max_segments": 2**16,
    "batch_rows": 2**20,
    "rows_per_group": 2**24,
    "threads": 2**12,
    "workers": 2**12,
}


@dataclass(frozen=True)
class DataConfig:
    """Clips and how they are packed into rows of exactly `row_tokens` vision tokens."""

    # One source (data/sources/source.py): a folder that tools/curate.py made, a folder of videos
    # and images, "tfds:BUILDER_FOLDER:SPLIT", or "synthetic"; a folder may be gs://...
    catalog: str = ""
    mixture: tuple[tuple[str, float], ...] = ()  # instead: (source, weight in vision tokens), ...
    # Share that is held out of the files of a folder of videos, or of the examples of a split of
    # tensorflow-datasets that is not for evaluation; a hash of the name decides.
    val_fraction: float = 0.05
    where: str = ""  # SQL over the catalog's columns, such as "aspect > 1 and motion > 0.2"
    # Where the clips' latents are (tools/encode_latents.py); "": pixels are encoded at every step.
    latents: str = ""
    row_tokens: int = 1024  # L
    text_tokens: int = 512  # S; 0: as many as the captions need
    max_segments: int = 16  # M, clips a row
    batch_rows: int = 8  # B, rows of the global batch
    # Rows of a batch of held-out clips, which are so much longer; 0: batch_rows. Measures compare
    # the captions of a row, so short rows have too few.
    evaluation_rows: int = 0
    rows_per_group: int = 64  # rows that one group of the shuffled catalog is packed into
    threads: int = 2  # decoding threads a process, when workers is 0
    workers: int = 0  # decoding processes a process
    worker_memory: float = 4.0  # GB that a decoding process may have
    max_broken: float = 0.01  # share of the clips read that may be broken before the run stops
    modes: ModeWeights = field(default_factory=ModeWeights)
    views: ViewConfig = field(default_factory=ViewConfig)

    def __post_init__(self) -> None:
        check_positive(self, "data", ("row_tokens", "max_segments", "batch_rows", "threads"))
        for name in ("text_tokens", "workers", "evaluation_rows"):
            check(getattr(self, name) >= 0, f"data.{name}", getattr(self, name), "0 or more")
        for name, most in MOST.items():
            check(
                getattr(self, name) <= most, f"data.{name}", getattr(self, name), f"at most {most}"
            )
        memory = self.worker_memory
        check(0 < memory <= 1e6, "data.worker_memory", memory, "more than 0 GB, at most a million")
        check(0 <= self.max_broken <= 1, "data.max_broken", self.max_broken, "a share of 0 to 1")
        check(0 <= self.val_fraction < 1, "data.val_fraction", self.val_fraction, "0 to below 1")
        good = all(weight > 0 for _, weight in self.mixture)
        check(good, "data.mixture", self.mixture, "(source, weight above 0), ...")
        if self.catalog and self.mixture:
            raise ConfigError("data.mixture: leave data.catalog empty, or name it in the mixture")
        check(
            self.rows_per_group % self.batch_rows == 0 and self.rows_per_group > 0,
            "data.rows_per_group",
            self.rows_per_group,
            f"a multiple of data.batch_rows={self.batch_rows}",
        )
        good = not self.evaluation_rows or self.batch_rows % self.evaluation_rows == 0
        expected = f"a divisor of data.batch_rows={self.batch_rows}, or 0"
        check(good, "data.evaluation_rows", self.evaluation_rows, expected)
        if self.latents:
            self._check_latents()

    @property
    def evaluation(self) -> "DataConfig":
        """The same with the rows that held-out clips are packed into."""
        rows = self.evaluation_rows or self.batch_rows
        longer = self.batch_rows // rows
        sizes = ("row_tokens", "text_tokens", "max_segments")
        return replace(
            self,
            batch_rows=rows,
            rows_per_group=rows,
            evaluation_rows=0,
            **{name: longer * getattr(self, name) for name in sizes},
        )

    def _check_latents(self) -> None:
        """Raises ConfigError for what stored latents cannot do.

        They are causal: each depends only on earlier frames of the whole clip.
        """
        for name in ("prepend", "connect", "inpaint"):
            weight = getattr(self.modes, name)
            expected = "0 with data.latents: what is given is not the clip's beginning"
            check(weight == 0, f"data.modes.{name}", weight, expected)
        needs = {
            "drop_static": "what repeats is seen in pixels",
            "mirror": "clips are stored as they are",
            "reverse": "clips are stored as they are",
        }
        for name, reason in needs.items():
            rows = getattr(self.views, name)
            check(not rows, f"data.views.{name}", rows, f"() with data.latents: {reason}")
