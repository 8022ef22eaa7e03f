#!/usr/bin/env python3
"""Loss curves as SVG, from what train_moe printed.

    scripts/plot_curves.py --out docs/results/loss.svg --reference docs/results/reference.csv \\
        "seed 1=run1.log" "seed 2=run2.log"

A run is LABEL=FILE; FILE is the output of train_moe or a CSV with the columns step, train, val. With --csv DIR
every log is also written there as CSV. Only the standard library is needed.
"""

import argparse
import csv
import pathlib
import re
import sys

EVALUATION = re.compile(r"step\s+(\d+)\s+train\s+([\d.]+)\s+val\s+([\d.]+)")
COLORS = ["#1b6ca8", "#d1495b", "#3b8b4d", "#8a5cc2", "#c47f17"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 480, 60, 20, 40, 50


def read_curve(path):
    """[(step, train, val)] of a log or a CSV."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    if text.startswith("step,"):
        rows = csv.DictReader(text.splitlines())
        return [(int(r["step"]), float(r["train"]), float(r["val"])) for r in rows]
    found = EVALUATION.findall(text)
    if not found:
        sys.exit(f"{path}: no evaluation lines ('step N  train X  val Y') in it")
    return [(int(s), float(t), float(v)) for s, t, v in found]


def draw(curves, reference, low, high):
    steps = max(row[0] for curve in curves.values() for row in curve) or 1

    def x(step):
        return LEFT + (WIDTH - LEFT - RIGHT) * step / steps

    def y(loss):
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - min(loss, high)) / (high - low)

    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    ticks = 8
    for i in range(ticks + 1):
        loss = low + (high - low) * i / ticks
        svg.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(loss):.1f}" y2="{y(loss):.1f}" stroke="#ddd"/>')
        svg.append(f'<text x="{LEFT - 8}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.2f}</text>')
    for i in range(6):
        step = steps * i // 5
        svg.append(f'<text x="{x(step):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{step}</text>')
    svg.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" text-anchor="middle">step</text>')
    svg.append(f'<text x="{LEFT}" y="20">loss, nats a character: solid = validation, dashed = train</text>')
    for i, (label, curve) in enumerate(curves.items()):
        color = COLORS[i % len(COLORS)]
        for column, dash in ((2, ""), (1, ' stroke-dasharray="4 3" stroke-opacity="0.6"')):
            points = " ".join(f"{x(r[0]):.1f},{y(r[column]):.1f}" for r in curve)
            svg.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"{dash}/>')
        svg.append(f'<text x="{WIDTH - 220}" y="{TOP + 18 + 18 * i}" fill="{color}">{label}</text>')
    if reference:
        for row in reference:
            svg.append(f'<circle cx="{x(row[0]):.1f}" cy="{y(row[2]):.1f}" r="3.5" fill="black"/>')
            svg.append(f'<circle cx="{x(row[0]):.1f}" cy="{y(row[1]):.1f}" r="3" fill="white" stroke="black"/>')
        height = TOP + 18 + 18 * len(curves)
        svg.append(f'<text x="{WIDTH - 220}" y="{height}">dots: reference (open = train)</text>')
    svg.append("</svg>")
    return "\n".join(svg) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="LABEL=FILE")
    parser.add_argument("--out", required=True, help="the SVG to write")
    parser.add_argument("--reference", help="CSV of a curve drawn as dots")
    parser.add_argument("--csv", help="folder to write each run's curve to")
    parser.add_argument("--low", type=float, default=1.5)
    parser.add_argument("--high", type=float, default=3.0)
    args = parser.parse_args()
    curves = {}
    for run in args.runs:
        label, separator, path = run.partition("=")
        if not separator:
            sys.exit(f"{run}: runs are given as LABEL=FILE")
        curves[label] = read_curve(path)
        if args.csv:
            target = pathlib.Path(args.csv) / (re.sub(r"\W+", "-", label).strip("-") + ".csv")
            lines = ["step,train,val"] + [f"{s},{t:.4f},{v:.4f}" for s, t, v in curves[label]]
            target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    reference = read_curve(args.reference) if args.reference else None
    pathlib.Path(args.out).write_text(draw(curves, reference, args.low, args.high), encoding="utf-8")


if __name__ == "__main__":
    main()
