#!/usr/bin/env bash
# Installs what is missing to build and test makemoe, from Debian's or Ubuntu's own packages.
#
#   scripts/install_dependencies.sh                  to build and test
#   scripts/install_dependencies.sh --lint           and what checks the sources
#   scripts/install_dependencies.sh --only NAME...   these packages and no others
#
# Asks for nothing when nothing is missing. Needs root or sudo otherwise; without them it prints the command
# to run and leaves with 2.
set -euo pipefail

packages=(g++ cmake ninja-build libfmt-dev libcli11-dev nlohmann-json3-dev libcurl4-openssl-dev catch2 libbenchmark-dev
  libboost-context-dev)
case "${1-}" in
  "") ;;
  --lint) packages+=(clang-format-14 clang-tidy) ;;
  --only) shift && packages=("$@") ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac

if ! command -v apt-get > /dev/null; then
  if command -v cmake > /dev/null && command -v ninja > /dev/null && command -v c++ > /dev/null; then
    exit 0  # whatever else is missing, CMake will name it
  fi
  echo "This is no Debian or Ubuntu. Please install: a C++20 compiler (g++ 11 or later), CMake 3.22 or later," \
    "Ninja, fmt, CLI11, nlohmann-json, libcurl (for MLflow), Catch2, Google Benchmark." >&2
  exit 2
fi

# A tool counts wherever it comes from, a library only as a package.
is_installed() {
  case "$1" in
    g++ | cmake | clang-format-14 | clang-tidy | curl) command -v "$1" > /dev/null ;;
    ninja-build) command -v ninja > /dev/null ;;
    libcurl4-openssl-dev) # its other flavours do as well, and exclude it
      dpkg-query --show --showformat='${db:Status-Status}\n' 'libcurl4-*-dev' 2> /dev/null | grep -qx installed ;;
    *) dpkg-query --show --showformat='${db:Status-Status}\n' "$1" 2> /dev/null | grep -qx installed ;;
  esac
}

missing=()
for package in "${packages[@]}"; do
  is_installed "$package" || missing+=("$package")
done
((${#missing[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo > /dev/null || { [[ ! -t 0 ]] && ! sudo -n true 2> /dev/null; }; then
    echo "Missing: ${missing[*]}. Please run as root:" >&2
    echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 2
  fi
  as_root=(sudo)
fi

# Waits for up to five minutes while another installation is under way.
apt_get() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" > /dev/null
}
apt_get update || echo "apt-get update failed; trying with the package lists that are here" >&2
# Later releases no longer carry clang-format 14. Others format differently, so the check is skipped there.
if [[ ${missing[*]} == *clang-format-14* ]] && ! apt-cache show clang-format-14 > /dev/null 2>&1; then
  echo "This release has no clang-format-14: the format check will be skipped" >&2
  kept=()
  for package in "${missing[@]}"; do
    [[ $package == clang-format-14 ]] || kept+=("$package")
  done
  ((${#kept[@]})) || exit 0
  missing=("${kept[@]}")
fi
echo "Installing ${missing[*]}"
apt_get install -y --no-install-recommends "${missing[@]}"
