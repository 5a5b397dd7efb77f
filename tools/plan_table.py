"""python -m tools.plan_table --work=runs/pods

Compiles the train steps of the pods in LINES ahead of time, one after the other, and writes the
table of docs/pods.md. Needs libtpu and the CUDA plugin, no accelerator. Each line leaves a file in
--work, and is not compiled again while that is there; --only=NAME does one line. Takes half an hour
or more.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

DOC = Path(__file__).parents[1] / "docs" / "pods.md"
GIB = 2**30
BEGIN, END = "<!-- pods -->", "<!-- end of pods -->"  # between them stands the table


class Line(NamedTuple):
    """What is compiled: a config with flags, on a topology."""

    config: str
    topology: str
    flags: tuple[str, ...] = ()


PRODUCTS = "--config.compute.remat=products"
MILLION = (  # rows of a million tokens, each on 64 chips
    "--config.data.row_tokens=1048576",
    "--config.data.text_tokens=8192",
    "--config.data.batch_rows=1",
    "--config.data.rows_per_group=16",
    "--config.mesh.fsdp=1",
    "--config.mesh.ring=8",
    "--config.mesh.context=8",
    "--clip_tokens=65536",
)
LINES = {
    "xl_v5p": Line("dit_xl", "v5p:8x8x8", (PRODUCTS,)),
    "xl_v6e": Line("dit_xl", "v6e:16x16"),
    "xl_v5e": Line("dit_xl", "v5e:16x16"),
    "xl_v5e_slices": Line("dit_xl", "v5e:16x16*2"),
    "xl_h100": Line("dit_xl", "h100:64x8", (PRODUCTS, "--config.compute.unroll=28")),
    "1b5_h100": Line(
        "dit_xl", "h100:64x8", ("--config.dit.size=1.5B", "--config.compute.unroll=18")
    ),
    "14b_v5p": Line("dit_14b", "v5p:8x8x16"),
    "14b_h100": Line("dit_14b", "h100:64x8"),
    "million_v5p": Line("dit_xl", "v5p:4x4x4", MILLION),
    "autoencoder_b_v5p": Line("autoencoder_b", "v5p:2x2x2"),
    "autoencoder_b_h100": Line("autoencoder_b", "h100:8x8"),
    "autoencoder_gpu": Line("autoencoder_gpu", "h100:1x1", ("--config.text.workdir=synthetic",)),
}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/pods"))
    parser.add_argument("--only", choices=LINES, help="one line")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    for name in [args.only] if args.only else LINES:
        file = args.work / f"{name}.json"
        if not file.is_file():
            print(f"{name} ...", flush=True)
            compile_line(LINES[name], file)
    made = {name: args.work / f"{name}.json" for name in LINES}
    found = {name: json.loads(x.read_text()) for name, x in made.items() if x.is_file()}
    DOC.write_text(replaced(DOC.read_text(), table(found)))
    print(f"{DOC}: {len(found)} of {len(LINES)} lines")


def replaced(text: str, table: str) -> str:
    """The text with another table between BEGIN and END. Raises ValueError if it lacks them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{DOC}: expected a line {BEGIN}, and after it {END}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def compile_line(line: Line, file: Path) -> None:
    """Writes the figures of a line to `file`; videodit.plan says on stderr why there are none."""
    command = [sys.executable, "-m", "videodit.plan", f"--config=configs/{line.config}.py"]
    command += [f"--topology={line.topology}", f"--out={file}", *line.flags]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        print(f"{line.topology}: no figures", file=sys.stderr)


def table(found: dict[str, dict[str, Any]]) -> str:
    """A row for each line that was compiled, above the versions it was compiled with."""
    names = ("parameters", "optimizer", "average", "temporaries")
    head = ["config", "topology", "mesh", "rows x tokens", "parameters", "optimizer", "EMA"]
    head += ["temporaries", "GiB per chip", "fits", "step", "MFU", "tokens per clip"]
    head += ["chip-hours", "compiled in"]
    rows = [head, ["---"] * len(head)]
    rows += [_row(LINES[name], figures, names) for name, figures in found.items()]
    versions = {json.dumps(x["versions"]) for x in found.values()}
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"Compiled with {v.strip('{}')}." for v in sorted(versions))])


def _row(line: Line, x: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    mesh = ", ".join(f"{axis} {n}" for axis, n in x["mesh"].items() if n > 1)
    sizes = [f"{x['bytes'][name] / GIB:.2f}" for name in names]
    whole = f"{x['bytes_total'] / GIB:.1f} of {x['bytes_of_chip'] / GIB:.1f}"
    known = "seconds" in x
    return [
        " ".join((f"`{line.config}`", *(flag.removeprefix("--config.") for flag in line.flags))),
        line.topology,
        mesh,
        f"{x['batch_rows']} x {x['row_tokens']}",
        *sizes,
        whole,
        "yes" if x["fits"] else "no",
        f"{x['seconds']['step'] * 1e3:.0f} ms" if known else "",
        f"{x['mfu']:.0%}" if known else "",
        str(x["clip_tokens"]),
        f"{x['chip_hours']:,.0f}" if known else "",
        f"{x['compile_seconds']:.0f} s",
    ]


if __name__ == "__main__":
    main()
