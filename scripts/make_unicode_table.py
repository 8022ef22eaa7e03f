#!/usr/bin/env python3
"""Writes model/unicode_table.cpp: the letters and numbers of Unicode, as ranges.

    python3 -m venv build/unicode && build/unicode/bin/pip install unicodedata2==16.0.0
    build/unicode/bin/python scripts/make_unicode_table.py > model/unicode_table.cpp

The version is that of Hugging Face's tokenizers library (0.23), which scripts/test_huggingface.sh compares with
character by character. Python's own unicodedata is of another one.
"""

import unicodedata2

HEAD = """// Written by scripts/make_unicode_table.py from the Unicode Character Database {version}.

#include "model/unicode.h"

namespace moe::detail {{
// clang-format off
"""
COLUMNS = 6


def ranges(major):
    """First and last of each run of characters whose general category begins with `major`."""
    found = []
    for c in range(0x110000):
        if unicodedata2.category(chr(c))[0] != major:
            continue
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return found


def write(name, function, rows):
    print(f"\nconstexpr CharacterRange {name}[] = {{")
    cells = [f"{{0x{first:X}, 0x{last:X}}}" for first, last in rows]
    for at in range(0, len(cells), COLUMNS):
        end = "," if at + COLUMNS < len(cells) else ""
        print("    " + ", ".join(cells[at:at + COLUMNS]) + end)
    print(f"}};\nstd::span<const CharacterRange> {function}() {{ return {name}; }}")


print(HEAD.format(version=unicodedata2.unidata_version), end="")
write("kLetters", "letters", ranges("L"))
write("kNumbers", "numbers", ranges("N"))
print("\n// clang-format on\n}  // namespace moe::detail")
