#!/usr/bin/env python3
"""Does the executor find faults in this project's own kernels? Plants those of tests/simt/planted_faults.py, one at a
time: in a copy of the file that is wrong, from which the objects that it changes are compiled anew and linked into
programs of their own. The tests of the operation must fail, or the executor must report something.

    scripts/plant_faults.py [BUILD] [--only WORDS] [--sample N] [--jobs N] [--write FILE]
    scripts/plant_faults.py --check

BUILD   a build folder of the release preset, which is brought up to date first; build/ unless said otherwise
--only  only faults whose description, kernel, operation or file contains these words
--sample only N of them, spread evenly over the list
--write puts the table into FILE, as docs/planted-faults.md has it
--check plants nothing: is each text to be replaced found once?

What was found is kept in BUILD/planted: a run that was interrupted, or another one of the same programs, goes on there.
Leaves with 1 when a fault is not found, or its text is not there once; with 77 where the executor was not built.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from xml.sax.saxutils import unescape

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/simt"))
sys.dont_write_bytecode = True
from planted_faults import FAULTS  # noqa: E402

# What races under one schedule does so under all, and is slow to watch: the first program tries all of them.
PROGRAMS = {"moe_simt_tests": "", "moe_simt_race_tests": "~[schedules]"}
SECONDS = 600  # for the tests of one operation
CATCHERS = {  # by what the executor calls a fault, or by what a test that failed had in its name
    "race": "race detector",
    "bounds": "bounds",
    "red zone": "red zones",
    "alignment": "alignment",
    "uninitialised": "reads of unwritten memory",
    "collective": "warp collectives",
    "barrier": "barriers",
    "launch": "launch limits",
    "stream": "streams",
    "capture": "capture rules",
    "numbers": "wrong numbers",
    "NaN": "NaN of unwritten memory",
    "schedules": "schedules that disagree",
    "thrown": "an error thrown",
    "crash": "a crash",
    "endless": "no end",
}


def misplaced():
    problems = []
    for fault in FAULTS:
        found = (ROOT / fault.file).read_text().count(fault.old)
        if found != 1:
            problems.append(f"{fault.file}: the text of \"{fault.what}\" is there {found} times instead of once:\n"
                            f"{fault.old}")
    return problems


def includes(source, header):
    """Whether the source, or a file of this project that it includes, includes the header."""
    seen, open_files = set(), [source]
    while open_files:
        for name in re.findall(r'^#include "([^"]+)"', (ROOT / open_files.pop()).read_text(), re.MULTILINE):
            if name == header:
                return True
            if name not in seen and (ROOT / name).is_file():
                seen.add(name)
                open_files.append(name)
    return False


def sources_of(fault):
    if pathlib.Path(fault.file).suffix in (".cu", ".cpp"):
        return [fault.file]
    kernels = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "kernels" / fault.op).glob("*.cu"))
    return [source for source in kernels if includes(source, fault.file)]


class Program:
    """One of the two test programs, as the build folder makes it."""

    def __init__(self, build, name):
        self.build, self.name = build, name
        commands = subprocess.run(["ninja", "-C", build, "-t", "commands", f"tests/simt/{name}"], check=True,
                                  capture_output=True, text=True).stdout.splitlines()
        self.link = shlex.split(next(c for c in reversed(commands) if c.startswith(": && ")).split(" && ")[1])
        self.compile = {}
        for command in commands:
            source = re.search(r" -c (\S+)$", command)
            library = re.search(r" -o \S*/moe_simt_(\w+)\.dir/", command)
            if source and library and library.group(1) in (name.removeprefix("moe_simt_") + "_kernels", "kernels"):
                self.compile[str(pathlib.Path(source.group(1)).relative_to(ROOT))] = shlex.split(command)

    def compiled(self, fault, source, folder):
        """The object of a source with the fault, and the object that it stands for."""
        args = list(self.compile[source])
        copy = folder / source
        args[args.index("-c") + 1] = str(copy if copy.exists() else ROOT / source)
        original = args[args.index("-o") + 1]
        args[args.index("-o") + 1] = target = str(folder / f"{self.name}_{copy.name}.o")
        for option in ("-MT", "-MF"):
            at = args.index(option)
            del args[at:at + 2]
        args.remove("-MD")
        args.insert(next(i for i, a in enumerate(args) if a.startswith("-I")), f"-I{folder}")
        run(args + ["-w"], self.build)
        return target, original

    def linked(self, fault, folder):
        objects = [self.compiled(fault, source, folder) for source in sources_of(fault)]
        args = [a for a in self.link if a not in {original for _, original in objects}]
        # In front: of inline functions that several objects have, the linker takes the first.
        first = next(i for i, a in enumerate(args) if a.endswith(".o"))
        args[first:first] = [target for target, _ in objects]
        program = folder / self.name
        args[args.index("-o") + 1] = str(program)
        run(args, self.build)
        return program


def run(args, folder):
    done = subprocess.run(args, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(args)}\n{done.stdout}{done.stderr}")


def test(program, op, name):
    """What caught something in the tests of the operation: [(catcher, what was said)]."""
    spec = PROGRAMS[name]
    try:
        done = subprocess.run([program, "--op", op, "-r", "xml", f"[op]{spec},[{op}]{spec}"], capture_output=True,
                              text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return [("endless", f"no end within {SECONDS} seconds")]
    found = []
    for line in done.stderr.splitlines():
        kind, _, message = line.partition(": ")
        if kind in CATCHERS:
            found.append(("red zone" if "memory was written" in message else kind, message))
    found += failures(done.stdout)
    if done.returncode < 0:
        found.append(("crash", f"signal {-done.returncode}"))
    if done.returncode != 0 and not found:
        raise RuntimeError(f"{program}: code {done.returncode}, and nothing was said:\n{done.stderr}")
    return found


def failures(xml):
    """Of Catch's XML, which is cut off when the program crashed."""
    found, test_name = [], ""
    for part in re.finditer(r'<TestCase name="([^"]*)"|<Expression success="false".*?<Expanded>(.*?)</Expanded>|'
                            r"<Exception [^>]*>(.*?)</Exception>", xml, re.DOTALL):
        name, expanded, exception = part.groups()
        if name:
            test_name = unescape(name, {"&quot;": '"'})
        elif exception:
            found.append(("thrown", exception.strip()))
        elif "order" in test_name:
            found.append(("schedules", test_name))
        else:
            said = " ".join(unescape(expanded).split())
            nan = re.search(r"\b(inf|nan)", said)
            found.append(("NaN" if nan else "numbers", f"{test_name}: {said}"))
    return found


def plant(fault, programs, folder):
    shutil.rmtree(folder, ignore_errors=True)
    wrong = folder / fault.file
    wrong.parent.mkdir(parents=True)
    wrong.write_text((ROOT / fault.file).read_text().replace(fault.old, fault.new))
    found = []
    for program in programs:
        found += test(program.linked(fault, folder), fault.op, program.name)
    shutil.rmtree(folder)
    return found


class Memory:
    """What was found before, by the bytes of both programs and the fault."""

    def __init__(self, folder, programs):
        self.folder = folder
        self.programs = b"".join(hashlib.sha256((p.build / "tests/simt" / p.name).read_bytes()).digest()
                                 for p in programs)

    def file_of(self, thing):
        name = hashlib.sha256(self.programs + repr(tuple(thing)).encode()).hexdigest()[:20]
        return self.folder / f"{name}.json"

    def found(self, thing, find):
        file = self.file_of(thing)
        if not file.exists():
            found = find()
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found))
        return json.loads(file.read_text())


def shortened(text, length=170):
    text = " ".join(text.split())
    return text if len(text) <= length else text[:length].rsplit(" ", 1)[0] + " …"


def row(fault, found):
    catchers = [c for c in CATCHERS if any(kind == c for kind, _ in found)]
    said = next((m for c in CATCHERS for kind, m in found if kind == c), "")
    cells = [fault.what, f"`{fault.kernel}`", f"`{pathlib.Path(fault.file).name}`",
             ", ".join(CATCHERS[c] for c in catchers) or "**not caught**", shortened(said).replace("|", "\\|")]
    return "| " + " | ".join(cells) + " |"


def table(results):
    lines = ["| fault | kernel | file | caught by | the first thing said |", "|---|---|---|---|---|"]
    lines += [row(fault, found) for fault, found in results]
    counts = {c: sum(any(kind == c for kind, _ in found) for _, found in results) for c in CATCHERS}
    lines += ["", "| caught by | faults |", "|---|---|"]
    lines += [f"| {CATCHERS[c]} | {n} |" for c, n in counts.items() if n]
    return "\n".join(lines) + "\n"


def write(file, results):
    """Replaces what follows the line that says where the table comes from."""
    mark = "<!-- the rest is written by scripts/plant_faults.py -->\n"
    head = file.read_text().split(mark)[0]
    file.write_text(head + mark + "\n" + table(results))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", nargs="?", default="build", type=pathlib.Path)
    parser.add_argument("--only", default="", metavar="WORDS")
    parser.add_argument("--sample", type=int, metavar="N")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()

    problems = misplaced()
    if problems:
        sys.exit("\n".join(problems))
    if args.check:
        print(f"All {len(FAULTS)} faults can be planted")
        return
    faults = [f for f in FAULTS if args.only in " ".join((f.what, f.kernel, f.op, f.file))]
    if args.sample and args.sample < len(faults):
        faults = [faults[i * len(faults) // args.sample] for i in range(args.sample)]
    build = args.build.resolve()
    rules = build / "build.ninja"
    known = rules.read_text() if rules.exists() else ""
    if not all(name in known for name in PROGRAMS):
        print(f"{build} has no {' and '.join(PROGRAMS)}: skipped")
        sys.exit(77)
    subprocess.run(["cmake", "--build", build, "--target", *PROGRAMS], check=True)
    programs = [Program(build, name) for name in PROGRAMS]
    memory = Memory(build / "planted", programs)

    missed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        # As they are, the kernels must pass, or what follows says nothing.
        clean = {(op, p.name): pool.submit(memory.found, ("none", op, p.name),
                                           lambda op=op, p=p: test(build / "tests/simt" / p.name, op, p.name))
                 for op in sorted({f.op for f in faults}) for p in programs}
        for (op, name), result in clean.items():
            if result.result():
                sys.exit(f"{name} finds something in {op} where no fault is planted: {result.result()[0]}")
        planted = [pool.submit(memory.found, f, lambda f=f, i=i: plant(f, programs, build / "planted" / str(i)))
                   for i, f in enumerate(faults)]
        results = []
        for fault, result in zip(faults, planted):
            results.append((fault, result.result()))
            missed += not results[-1][1]
            print(row(*results[-1]), flush=True)
    if args.write:
        write(args.write, results)
    print(f"{len(faults) - missed} of {len(faults)} faults caught")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
