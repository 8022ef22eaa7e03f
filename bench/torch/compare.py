"""Times this program and its PyTorch twins in turns, and prints their ratios.

Every round runs each program once, so that a busy moment of the machine meets all of them; a figure is the median of
its rounds. On the CPU a twin is given every number of threads up to the one asked for, and its best counts. On a GPU
every precision is compared with the same one of the twins.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FIGURES = {"step": "training step, ms", "evaluation": "evaluation, ms a sequence", "tokens": "generation, tokens/s"}
SEQUENCES = 16  # in a batch of the twins


def output(command, **environment):
    # Into a file: who reads a pipe wakes up for every character of generate, on a core that it computes with.
    with tempfile.TemporaryFile("w+") as file:
        done = subprocess.run([str(a) for a in command], stdout=file, stderr=subprocess.STDOUT, check=False,
                              env={**os.environ, **environment})
        file.seek(0)
        text = file.read()
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{text}")
    return text


def ours(build, settings, steps):
    text = output([build / "bench/bench_step", "--steps", steps, *settings])
    row = {line.split("  ")[0]: line for line in text.splitlines()}

    def median(name):
        return float(row[name][20:].split()[1])

    ratio = float(re.search(r"ratio ([\d.]+)", row["step"])[1])
    sequences = int(re.search(r"(\d+) sequences", text)[1])
    made = output([program(build, "generate"), "--checkpoint", build / "bench-model", "--tokens", 1000, *settings])
    return {"step": median("step"), "evaluation": median("evaluation") / sequences,
            "tokens": float(re.search(r"([\d.]+) tokens/s", made)[1]), "ratio to the floor": ratio}


def twin(variant, settings, steps, *more):
    text = output([sys.executable, HERE / "twin.py", variant, "--steps", steps, "--tokens", 100, *settings, *more])
    figures = json.loads(text[text.rindex("{"):text.rindex("}") + 1])
    return {"step": figures["step"], "evaluation": figures["evaluation"] / SEQUENCES,
            "tokens": figures["tokens_per_second"]}


def program(build, name):
    """A build of its own folder for programs has them there, the release build in the root."""
    own = build / "apps" / name
    return own if own.exists() else ROOT / name


def train_model_to_generate_with(build):
    folder = build / "bench-model"
    if not (folder / "latest").exists():
        text = build / "bench-model.txt"
        text.write_text("".join(chr(33 + i * i % 65) for i in range(20000)))
        output([program(build, "train_moe"), text, "--device", "cpu", "--max-iters", 1, "--eval-iters", 1, "--no-report",
                "--out", folder])


def best(rounds, figure):
    """The best of the medians over a program's settings."""
    medians = [statistics.median(r[figure] for r in runs) for runs in rounds]
    return max(medians) if figure == "tokens" else min(medians)


def compare(title, options, twins, own_settings, their_settings):
    """Prints one table. A twin is run with each of its settings."""
    mine = []
    others = {name: [[] for _ in their_settings] for name in twins}
    for _ in range(options.rounds):
        mine.append(ours(options.build, own_settings, options.steps))
        for name, more in twins.items():
            for settings, runs in zip(their_settings, others[name]):
                runs.append(twin(name.split(",")[0], settings, options.steps, *more))
    title += f", medians of {options.rounds} round{'s'[:options.rounds > 1]}"
    print(f"\n{title:<44}{'makemoe':>9}" + "".join(f"{'torch, ' + name:>28}" for name in twins))
    for figure, what in FIGURES.items():
        own = statistics.median(r[figure] for r in mine)
        line = f"{what:<44}{own:9.2f}" if own >= 10 else f"{what:<44}{own:9.4f}"
        for name in twins:
            other = best(others[name], figure)
            line += f"{other:15.2f} ({other / own if figure != 'tokens' else own / other:4.2f} times)"
        print(line)
    print(f"{'training step, times its floor':<44}{statistics.median(r['ratio to the floor'] for r in mine):9.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="folder of the built programs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="timed steps in a round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="compare at 1 and at this many")
    parser.add_argument("--compile", action="store_true", help="also the grouped twin through torch.compile")
    options = parser.parse_args()

    for variant in ("naive", "grouped"):
        recorded = ROOT / "tests/golden/makemoe_dropless.safetensors"
        deviation = json.loads(output([sys.executable, HERE / "twin.py", variant, "--check", recorded]))["deviation"]
        print(f"{variant}: a recorded run of the original comes out within {deviation:.1e}")
        if deviation > 1e-6:
            sys.exit(f"twin.py {variant} is not the same model")
    train_model_to_generate_with(options.build)

    twins = {"naive": (), "grouped": ()} | ({"grouped, compiled": ("--compile",)} if options.compile else {})
    if options.device == "cuda":
        for dtype in ("fp32", "tf32", "bf16"):
            settings = ("--device", "cuda", "--dtype", dtype)
            compare(dtype, options, twins, settings, [settings])
        return
    for threads in sorted({1, options.threads}):
        settings = [("--device", "cpu", "--threads", t) for t in range(1, threads + 1)]
        compare(f"{threads} thread{'s'[:threads > 1]}", options, twins, settings[-1], settings)


if __name__ == "__main__":
    main()
