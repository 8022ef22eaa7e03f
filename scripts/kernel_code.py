#!/usr/bin/env python3
"""What the compiler made of the CUDA kernels: registers, stack, spills, accesses to memory, tensor cores.

    scripts/kernel_code.py FOLDER [--cuobjdump PROGRAM] [--write FILE]

FOLDER has NAME.log, what nvcc -Xptxas=-v said, and NAME.o for each source, as scripts/check_cuda.sh leaves them. With
cuobjdump the machine code is read as well. --write puts the table into FILE, as docs/kernel-code.md has it.

Leaves with 1 when a rule is broken:
- no kernel has a stack, spills, or accesses to local memory;
- kernels for tensor cores have HMMA instructions from sm_80 on;
- no kernel has atomic operations on floats.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

TENSOR = re.compile(r"Tf32|Bf16|bf16")
FLOAT_ATOMIC = re.compile(r"^(RED|ATOM)\w*\..*F(16|32|64)")
# Of global memory: LDG, or LD where the compiler does not see which memory a pointer leads to.
LOAD, STORE, LOCAL = r"LDG?\b", r"STG?\b", r"(LDL|STL)\b"
MARK = "<!-- the rest is written by scripts/check_cuda.sh -->\n"


class Code:
    """One instance of a kernel for one kind of GPU."""

    def __init__(self):
        self.registers = self.stack = self.spills = self.shared = 0
        self.instructions = collections.Counter()

    def count(self, pattern):
        return sum(n for name, n in self.instructions.items() if re.match(pattern, name))


def read_log(text, codes):
    key = None
    for line in text.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line):
            key = entry.groups()
        elif frame := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            codes[key].stack, codes[key].spills = int(frame[1]), int(frame[2]) + int(frame[3])
        elif used := re.search(r"Used (\d+) registers", line):
            codes[key].registers = int(used[1])
            shared = re.search(r"(\d+) bytes smem", line)
            codes[key].shared = int(shared[1]) if shared else 0


def read_machine_code(text, codes):
    arch = key = None
    for line in text.splitlines():
        if found := re.match(r"\s*code for (sm_\w+)", line):
            arch = found[1]
        elif found := re.match(r"\s*Function : (\w+)", line):
            key = (found[1], arch)
        elif found := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", line):
            codes[key].instructions[found[1]] += 1


def demangled(names):
    out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return dict(zip(names, out.splitlines()))


def base_name(signature):
    """layer_norm_forward_kernel of what c++filt makes of an instance of it."""
    return re.search(r"(\w+)(?:<.*)?$", re.sub(r"\(anonymous namespace\)::", "", signature).split("(")[0].split("<")[0])[1]


def broken_rules(name, arch, code):
    if code.stack or code.spills:
        yield f"{code.stack} bytes of stack, {code.spills} bytes of spills"
    if not code.instructions:
        return
    if local := code.count(LOCAL):
        yield f"{local} accesses to local memory"
    if TENSOR.search(name) and int(re.sub(r"\D", "", arch)) >= 80 and not code.count(r"HMMA"):
        yield "no HMMA instruction"
    for instruction in code.instructions:
        if FLOAT_ATOMIC.match(instruction):
            yield f"an atomic operation on floats, {instruction}"


def span(values):
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"


def worst(by_arch):
    """The most stack, spills and local accesses of any instance for any GPU."""
    codes = [c for of_arch in by_arch.values() for c in of_arch]
    return " / ".join(str(max(values)) for values in
                      ([c.stack for c in codes], [c.spills for c in codes], [c.count(LOCAL) for c in codes]))


def wide(codes, access):
    """128-bit accesses among all of one kind, over the instances for one GPU."""
    every = sum(c.count(access) for c in codes)
    return f"{sum(c.count(access + r'.*[.]128') for c in codes)} of {every}" if every else ""


def table(by_kernel, arches):
    lines = ["| kernel | instances | " + " | ".join(f"registers, {a}" for a in arches) +
             " | stack / spills / local | shared, bytes | loads of 128 bits | stores of 128 bits | HMMA, " + " / ".join(arches) + " |",
             "|---|--:|" + "--:|" * len(arches) + "--:|--:|--:|--:|--:|"]
    for kernel, by_arch in sorted(by_kernel.items()):
        widest = by_arch[arches[-1]]
        hmma = [max(c.count("HMMA") for c in by_arch[a]) for a in arches]
        cells = [f"`{kernel}`", str(len(widest)), *(span([c.registers for c in by_arch[a]]) for a in arches),
                 worst(by_arch), span([c.shared for c in widest]), wide(widest, LOAD), wide(widest, STORE),
                 " / ".join(map(str, hmma)) if any(hmma) else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--cuobjdump")
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE")
    args = parser.parse_args()

    def machine_code(log):
        return subprocess.run([args.cuobjdump, "-sass", log.with_suffix(".o")], capture_output=True, text=True,
                              check=True).stdout if args.cuobjdump else ""

    codes = collections.defaultdict(Code)
    logs = sorted(args.folder.glob("*.log"))
    # A thread waits for a disassembler, which is what takes time.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for log, code in zip(logs, pool.map(machine_code, logs)):
            read_log(log.read_text(), codes)
            read_machine_code(code, codes)
    if not codes:
        sys.exit("no kernel was compiled")
    names = demangled(sorted({name for name, _ in codes}))
    by_kernel = collections.defaultdict(lambda: collections.defaultdict(list))
    bad = 0
    for (name, arch), code in codes.items():
        by_kernel[base_name(names[name])][arch].append(code)
        for problem in broken_rules(names[name], arch, code):
            print(f"{names[name]} for {arch}: {problem}")
            bad += 1
    arches = sorted({arch for _, arch in codes}, key=lambda a: int(re.sub(r"\D", "", a)))
    text = table(by_kernel, arches)
    if args.write:
        args.write.write_text(args.write.read_text().split(MARK)[0] + MARK + "\n" + text)
    else:
        print(text)
    what = "stack, spills, local memory, HMMA and float atomics" if args.cuobjdump else "stack and spills"
    print(f"{len(codes)} instances of {len(by_kernel)} kernels for {', '.join(arches)}: {bad} break the rules of {what}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
