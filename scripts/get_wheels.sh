#!/usr/bin/env bash
# Fetches packages from PyPI, without what they depend on, and unpacks one of the folders in them.
#
#   scripts/get_wheels.sh FOLDER PART PACKAGE...     what lies in a folder PART, as in include, comes to FOLDER/PART
#
# Leaves with 1 when pip finds no network or no such package.
set -euo pipefail

(($# >= 3)) || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
folder=$1 part=$2
shift 2
mkdir -p "$folder/wheels"
trap 'rm -rf "$folder/wheels"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$folder/wheels" "$@" ||
  exit 1
python3 - "$folder" "$part" << 'EOF'
import pathlib, shutil, sys, zipfile
folder, part = pathlib.Path(sys.argv[1]), sys.argv[2]
for wheel in (folder / "wheels").glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            parts = pathlib.PurePosixPath(name).parts
            if part not in parts[:-1] or name.endswith("/"):
                continue
            target = (folder / part).joinpath(*parts[parts.index(part) + 1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out)
EOF
