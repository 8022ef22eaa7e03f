#!/usr/bin/env bash
# Do README.md and docs/ tell the truth about the tree?
#   - every link leads to a file that exists;
#   - every `path/to/file` in backquotes that begins with one of our folders exists;
#   - every block that follows <!-- from path/to/file --> stands in that file, word for word.
set -euo pipefail
cd "$(dirname "$0")/.."

failures=0
fail() {
  echo "$1"
  failures=$((failures + 1))
}

shopt -s nullglob
documents=(README.md docs/*.md docs/*/*.md)
for document in "${documents[@]}"; do
  while IFS= read -r target; do
    target=${target%%#*}
    [[ -z $target || $target =~ ^(https?|mailto): ]] && continue
    [[ -e $(dirname "$document")/$target ]] || fail "$document: the link to $target leads nowhere"
  done < <(grep -oE '\]\([^) ]+\)' "$document" | sed 's/^](//; s/)$//')

  while IFS= read -r path; do
    [[ -e $path ]] || fail "$document: there is no $path"
  done < <(grep -oE '`(core|kernels|autograd|model|apps|tests|bench|cmake|scripts|docs)/[A-Za-z0-9_./-]+`' "$document" |
    tr -d '`')

  # One awk run for a document: prints a line for each quotation that its file does not contain.
  while IFS= read -r problem; do
    fail "$document: $problem"
  done < <(awk '
    /^<!-- from [^ ]+ -->$/ { file = $3; next }
    file != "" && !inside && /^```/ { inside = 1; quotation = ""; next }
    inside && /^```/ {
      text = ""
      found = 0
      while ((getline line < file) > 0) { text = text line "\n"; found = 1 }
      close(file)
      if (!found) print "there is no " file
      else if (index(text, quotation) == 0) print "line " NR ": this does not stand in " file
      inside = 0; file = ""; next
    }
    inside { quotation = quotation $0 "\n" }' "$document")
done

((failures == 0)) || exit 1
echo "${#documents[@]} documents hold"
