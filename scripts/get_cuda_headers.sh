#!/usr/bin/env bash
# Fetches NVIDIA's headers from PyPI, for tests that run CUDA kernels on the CPU where no toolkit is installed.
#
#   scripts/get_cuda_headers.sh FOLDER      the headers come to FOLDER/include, about 40 MiB
#
# Leaves with 1, and a line that says why, when they cannot be had.
set -euo pipefail

(($# == 1)) || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
folder=$1
[[ ! -f $folder/include/cublas_v2.h ]] || exit 0

fetch() { # the packages of one major version of CUDA
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$folder/wheels" "$@"
}
mkdir -p "$folder/wheels"
trap 'rm -rf "$folder/wheels" "$folder/unpacked"' EXIT
if ! fetch 'nvidia-cuda-runtime==13.*' 'nvidia-cuda-crt==13.*' 'nvidia-cuda-cccl==13.*' 'nvidia-cublas==13.*'; then
  echo "CUDA's headers could not be fetched: pip found no network or no such package" >&2
  exit 1
fi
python3 - "$folder" << 'EOF'
import pathlib, shutil, sys, zipfile
folder = pathlib.Path(sys.argv[1])
include = folder / "include"
for wheel in (folder / "wheels").glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            parts = pathlib.PurePosixPath(name).parts
            if "include" not in parts or name.endswith("/"):
                continue
            target = include.joinpath(*parts[parts.index("include") + 1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out)
EOF
[[ -f $folder/include/cublas_v2.h && -f $folder/include/cuda_runtime.h ]]
