#!/usr/bin/env bash
# Fetches NVIDIA's cuobjdump and nvdisasm from PyPI, where the toolkit that is installed lacks them.
#
#   scripts/get_cuda_disassembler.sh FOLDER      the programs come to FOLDER/bin, about 7 MiB
#
# Leaves with 1, and a line that says why, when they cannot be had.
set -euo pipefail

(($# == 1)) || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
folder=$1
[[ ! -x $folder/bin/cuobjdump ]] || exit 0

mkdir -p "$folder/wheels" "$folder/bin"
trap 'rm -rf "$folder/wheels"' EXIT
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --dest "$folder/wheels" 'nvidia-cuda-cuobjdump==13.*' 'nvidia-cuda-nvdisasm==13.*'; then
  echo "cuobjdump could not be fetched: pip found no network or no such package" >&2
  exit 1
fi
for wheel in "$folder"/wheels/*.whl; do
  python3 - "$wheel" "$folder/bin" << 'END'
import pathlib, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    for name in archive.namelist():
        if pathlib.PurePosixPath(name).parent.name == "bin" and not name.endswith("/"):
            program = pathlib.Path(sys.argv[2]) / pathlib.PurePosixPath(name).name
            program.write_bytes(archive.read(name))
            program.chmod(0o755)
END
done
[[ -x $folder/bin/cuobjdump && -x $folder/bin/nvdisasm ]]
