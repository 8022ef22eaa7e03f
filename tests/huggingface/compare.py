"""Compares tokenizers and tensors of this program with Hugging Face's libraries. scripts/test_huggingface.sh runs it.

Every comparison prints a line. Leaves with 1 at the first that does not hold.
"""

import argparse
import itertools
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy
import safetensors
import safetensors.numpy
import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SCALARS = [c for c in range(1, 0x110000) if not 0xD800 <= c <= 0xDFFF]
SPACES = [chr(c) for c in (*range(0x9, 0xE), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
                           0x202F, 0x205F, 0x3000)]
CONTROLS = [chr(c) for c in (*range(1, 0x20), *range(0x7F, 0xA0))]
EDGES = [chr(c) for c in (0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFDD0, 0xFEFF, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000,
                          0x1FFFF, 0x20000, 0xE0001, 0x10FFFD, 0x10FFFF)]
MARKS = ["e\u0301", "a\u0323\u0307", "\u0928\u093f", "\u1112\u1161\u11ab", "Z" + "\u0335\u0336\u0489" * 20, "\u00e9"]
EMOJI = ["\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f3f4\u200d\u2620\ufe0f",
         "\U0001f44d\U0001f3fd", "\U0001f1e8\U0001f1ed", "1\ufe0f\u20e3", "\u200d\u200c\u2060"]
WORDS = ["we'll", "I'D", "don\u2019t", "'tis", "''ve's", "x's'", "42", "\u0663\u0664", "\u00bd\u2167", "\u4f60\u597d",
         "\u05e9\u05dc\u05d5\u05dd", "\u202eabc", "stra\u00dfe", "\u0130i", "<unk>", "\u0120", "\u010a"]


ENDLESS = "a" * 50_000 + " " * 5000 + "\u4f60" * 20_000 + "=" * 10_000 + "\n" * 3000


def hostile_text():
    """Every kind of trouble beside every other, then a long random mixture."""
    kinds = SPACES + CONTROLS + EDGES + MARKS + EMOJI + WORDS
    pairs = "".join(a + b for a, b in itertools.product(kinds, repeat=2))
    rng = random.Random(5)
    pool = kinds + [chr(c) for c in SCALARS[::37]]
    return pairs + "".join(rng.choice(pool) * rng.choice((1, 1, 1, 2, 5)) for _ in range(200_000))


def every_character():
    """Each character between and behind a letter, a number, a sign and blanks: its class decides about the words."""
    return "".join(f"a{chr(c)}1{chr(c)}!{chr(c)} {chr(c)}\n" for c in SCALARS)


class Comparison:
    def __init__(self, args, folder):
        self.tool = pathlib.Path(args.tools) / "tokenize"
        self.train_moe = pathlib.Path(args.train).resolve()
        self.folder = folder
        self.done = 0

    def holds(self, ok, what):
        print(("ok      " if ok else "FAILED  ") + what, flush=True)
        self.done += 1
        if not ok:
            sys.exit(1)

    def ask(self, *arguments):
        return subprocess.run([self.tool, *map(str, arguments)], check=True, stdout=subprocess.PIPE).stdout

    def ask_ids(self, *arguments):
        return numpy.frombuffer(self.ask(*arguments), dtype="<i4")

    def write(self, name, text):
        path = self.folder / name
        path.write_bytes(text.encode())
        return path

    def make(self, kind, size, text_path):
        path = self.folder / f"{kind}{size}-{text_path.name}.json"
        self.ask("train", kind, size, text_path, path)
        return path

    def compare_words(self, name, text, path):
        ours = self.ask_ids("words", path)
        cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        theirs = numpy.cumsum([len(word) for word, _ in cut.pre_tokenize_str(text)])  # one character a byte
        self.holds(numpy.array_equal(ours, theirs), f"{name}: the same {len(ours)} words")

    def compare_ids(self, what, path, texts):
        theirs = Tokenizer.from_file(str(path))
        for name, (text, text_path) in texts.items():
            ids = self.ask_ids("encode", path, text_path)
            encoded = theirs.encode(text).ids
            self.holds(numpy.array_equal(ids, encoded), f"{what}, {name}: the same {len(ids)} ids")
            self.holds(theirs.decode(encoded, skip_special_tokens=False) == text,
                       f"{what}, {name}: their decoding gives the text")
            ids_path = self.folder / "ids"
            ids.tofile(ids_path)
            self.holds(self.ask("decode", path, ids_path).decode() == text, f"{what}, {name}: ours does too")

    def compare_any_ids(self, what, path):
        """Ids in any order make bytes that are no UTF-8: both show the same replacement characters."""
        theirs = Tokenizer.from_file(str(path))
        ids = numpy.random.default_rng(3).integers(theirs.get_vocab_size(), size=50_000, dtype="<i4")
        ids.tofile(self.folder / "ids")
        shown = theirs.decode(ids.tolist(), skip_special_tokens=False)
        self.holds(self.ask("decode", path, self.folder / "ids").decode() == shown,
                   f"{what}: 50000 random ids are shown alike, {shown.count(chr(0xFFFD))} times as U+FFFD")

    def compare_trainer(self, name, size, text, path):
        theirs = Tokenizer(models.BPE())
        theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        theirs.decoder = decoders.ByteLevel()
        theirs.train_from_iterator([text], trainers.BpeTrainer(
            vocab_size=size, min_frequency=2, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False))
        wanted = json.loads(theirs.to_str())["model"]
        ours = json.loads(path.read_text(encoding="utf-8"))["model"]
        merges = [" ".join(m) if isinstance(m, list) else m for m in wanted["merges"]]
        self.holds(ours["vocab"] == wanted["vocab"] and ours["merges"] == merges,
                   f"bpe of {size}, {name}: their trainer finds the same {len(merges)} merges")

    def compare_tensors(self, text_path):
        out = self.folder / "out"
        subprocess.run([self.train_moe, text_path, "--out", out, "--n-embed", "16", "--n-head", "2", "--n-layer", "2",
                        "--num-experts", "4", "--max-iters", "3", "--eval-iters", "1"], check=True,
                       stdout=subprocess.DEVNULL)
        path = out / "model.safetensors"
        theirs = safetensors.numpy.load_file(path)
        ours = {}
        for line in self.ask("tensors", path).decode().splitlines():
            name, dtype, shape, data = line.replace(", ", ",").split(" ")
            ours[name] = (dtype, json.loads(shape), bytes.fromhex(data))
        header_bytes = int.from_bytes(path.read_bytes()[:8], "little")
        header = json.loads(path.read_bytes()[8:8 + header_bytes])
        header.pop("__metadata__")
        self.holds(theirs.keys() == ours.keys() == header.keys(), f"safetensors: the same {len(theirs)} tensors")
        raw = path.read_bytes()[8 + header_bytes:]
        same = all(ours[name] == ("f32", list(t.shape), t.tobytes()) and t.dtype == numpy.float32 and
                   raw[slice(*header[name]["data_offsets"])] == t.tobytes() for name, t in theirs.items())
        self.holds(same, f"safetensors: the same {sum(t.size for t in theirs.values())} numbers, bit for bit")
        with safetensors.safe_open(path, framework="numpy") as file:
            self.holds(file.metadata()["format"] == "pt", "safetensors: the metadata says format pt")
        Tokenizer.from_file(str(out / "tokenizer.json"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--tools", "--train", "--text"):
        parser.add_argument(option, required=True)
    args = parser.parse_args()
    print(f"tokenizers {tokenizers.__version__}, safetensors {safetensors.__version__}, numpy {numpy.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        c = Comparison(args, pathlib.Path(folder))
        texts = {name: (text, c.write(name, text)) for name, text in (
            ("corpus", pathlib.Path(args.text).read_bytes().decode()), ("hostile", hostile_text()),
            ("endless words", ENDLESS), ("every character", every_character()))}
        corpus, hostile, endless, every = texts.values()
        for name, (text, path) in texts.items():
            c.compare_words(name, text, path)
        c.compare_ids("characters", c.make("char", 0, corpus[1]), {"corpus": corpus})
        c.compare_ids("characters", c.make("char", 0, hostile[1]), {"hostile": hostile})
        c.compare_ids("characters", c.make("char", 0, every[1]), {"every character": every})
        for size in (256, 512, 4096):
            path = c.make("bpe", size, corpus[1])
            c.compare_ids(f"bpe of {size}, corpus", path,
                          {"corpus": corpus, "hostile": hostile, "endless words": endless})
            c.compare_any_ids(f"bpe of {size}, corpus", path)
            c.compare_trainer("corpus", size, corpus[0], path)
        path = c.make("bpe", 3000, hostile[1])
        c.compare_ids("bpe of 3000, hostile", path, texts)
        c.compare_any_ids("bpe of 3000, hostile", path)
        c.compare_trainer("hostile", 3000, hostile[0], path)
        # Their trainer has no longest token, so that only the ids are compared.
        c.compare_ids("bpe of 300, endless words", c.make("bpe", 300, endless[1]), {"endless words": endless})
        c.compare_tensors(corpus[1])
        print(f"{c.done} passed, 0 failed")


if __name__ == "__main__":
    main()
