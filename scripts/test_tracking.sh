#!/usr/bin/env bash
# Do a real TensorBoard and a real MLflow server show what a run logged? Installs both from PyPI into a virtual
# environment in the build folder (about 1 GB, a few minutes the first time), starts them on loopback, and asks
# them through their own interfaces. Kills the MLflow server in mid-run, sends the rest with mlflow-sync, and
# measures what dead, hanging and lying servers cost. tests/tracking/check_tracking.py says what is compared.
#
#   scripts/test_tracking.sh
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_dependencies.sh
cmake --preset release
cmake --build --preset release --target train_moe mlflow_sync moe_write_run

scripts/make_venv.sh build/tracking-venv -r tests/tracking/requirements.txt
build/tracking-venv/bin/python tests/tracking/check_tracking.py build/tests/moe_write_run ./mlflow-sync ./train_moe
