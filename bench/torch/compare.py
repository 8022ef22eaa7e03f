"""Times this program and its PyTorch twins in turns, and prints their ratios.

Every round runs each program once, so that a busy moment of the machine meets all of them; a figure is the median of
its rounds. A twin is given every number of threads up to the one asked for, and its best counts.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FIGURES = {"step": "training step, ms", "evaluation": "evaluation, ms a sequence", "tokens": "generation, tokens/s"}
SEQUENCES = 16  # in a batch of the twins


def output(command, **environment):
    done = subprocess.run([str(a) for a in command], capture_output=True, text=True, check=False,
                          env={**os.environ, **environment})
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout + done.stderr


def ours(threads, steps):
    text = output([ROOT / "build/bench/bench_step", "--device", "cpu", "--threads", threads, "--steps", steps])
    row = {line.split("  ")[0]: line for line in text.splitlines()}

    def median(name):
        return float(row[name][20:].split()[1])

    ratio = float(re.search(r"ratio ([\d.]+)", row["step"])[1])
    sequences = int(re.search(r"(\d+) sequences", text)[1])
    made = output([ROOT / "generate", "--checkpoint", ROOT / "build/bench-model", "--tokens", 300, "--threads", threads])
    return {"step": median("step"), "evaluation": median("evaluation") / sequences,
            "tokens": float(re.search(r"([\d.]+) tokens/s", made)[1]), "ratio to the floor": ratio}


def twin(variant, threads, steps, *more):
    text = output([sys.executable, HERE / "twin.py", variant, "--threads", threads, "--steps", steps, *more])
    figures = json.loads(text[text.rindex("{"):text.rindex("}") + 1])
    return {"step": figures["step"], "evaluation": figures["evaluation"] / SEQUENCES,
            "tokens": figures["tokens_per_second"]}


def train_model_to_generate_with():
    folder = ROOT / "build/bench-model"
    if not (folder / "latest").exists():
        text = ROOT / "build/bench-model.txt"
        text.write_text("".join(chr(33 + i * i % 65) for i in range(20000)))
        output([ROOT / "train_moe", text, "--max-iters", 1, "--eval-iters", 1, "--no-report", "--out", folder])


def best(rounds, figure):
    """The best of the medians over a program's thread settings."""
    medians = [statistics.median(r[figure] for r in runs) for runs in rounds.values()]
    return max(medians) if figure == "tokens" else min(medians)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    train_model_to_generate_with()

    twins = {"naive": (), "grouped": ()} | ({"grouped, compiled": ("--compile",)} if options.compile else {})
    for threads in sorted({1, options.threads}):
        mine = []
        others = {name: {t: [] for t in range(1, threads + 1)} for name in twins}
        for _ in range(options.rounds):
            mine.append(ours(threads, options.steps))
            for name, more in twins.items():
                for t, runs in others[name].items():
                    runs.append(twin(name.split(",")[0], t, options.steps, *more))
        print(f"\n{threads} thread{'s'[:threads > 1]}, medians of {options.rounds} rounds"
              f"{'':14}makemoe" + "".join(f"{'torch, ' + name:>28}" for name in twins))
        for figure, title in FIGURES.items():
            own = statistics.median(r[figure] for r in mine)
            line = f"{title:<44}{own:9.2f}"
            for name in twins:
                other = best(others[name], figure)
                line += f"{other:15.2f} ({other / own if figure != 'tokens' else own / other:4.2f} times)"
            print(line)
        print(f"{'training step, times its floor':<44}{statistics.median(r['ratio to the floor'] for r in mine):9.2f}")


if __name__ == "__main__":
    main()
