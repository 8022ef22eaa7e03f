#!/usr/bin/env bash
# scripts/train.sh in a repository of our own, with programs of our own in its path.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/repository/scripts" "$work/caller"
export PATH="$work/bin:$PATH" LOG=$work/log
fail() {
  echo "$1"
  exit 1
}
# fake FILE: a program that notes where it was called, and how.
fake() {
  printf '#!/usr/bin/env bash\necho "$(basename "$PWD"): $(basename "$0") $*" >> "$LOG"\n' > "$1"
  chmod +x "$1"
}

repository=$work/repository
cp scripts/train.sh "$repository/scripts"
fake "$work/bin/cmake"
for program in scripts/install_dependencies.sh scripts/get_text.sh train_moe; do fake "$repository/$program"; done
cd "$work/caller"
echo text > mine.txt

code=0
said=$("$repository/scripts/train.sh" mien.txt --max-iters 10 2>&1) || code=$?
((code == 3)) && [[ $said == "train.sh: mien.txt: there is no such file"* && $said != *$'\n'* ]] ||
  fail "a text that is not there: code $code, '$said'"
[[ ! -e $LOG ]] || fail "a text that is not there: it begins all the same: $(< "$LOG")"

"$repository/scripts/train.sh" mine.txt --out here --config c.json
[[ $(tail -n 1 "$LOG") == "caller: train_moe mine.txt --out here --config c.json" ]] ||
  fail "names are not those of the caller's folder: $(< "$LOG")"
grep -q '^repository: cmake --build' "$LOG" || fail "it builds elsewhere: $(< "$LOG")"
! grep -q get_text "$LOG" || fail "it fetches a text where there is one: $(< "$LOG")"

"$repository/scripts/train.sh" --max-iters 10
[[ $(tail -n 2 "$LOG") == *"get_text.sh"*"train_moe $repository/input.txt --max-iters 10" ]] ||
  fail "without a text: $(< "$LOG")"
