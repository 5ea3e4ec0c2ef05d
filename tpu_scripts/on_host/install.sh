#!/usr/bin/env bash
# Installs the checkout that this file is in, on a TPU host: install.sh EXTRAS (as in tpu,train).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [[ ! -x .venv/bin/pip ]]; then
  if command -v python3.11 >/dev/null && python3.11 -m venv .venv; then
    :
  else # Ubuntu 22.04, which TPU hosts run, has Python 3.10
    python3 -m pip install --quiet --user uv
    python3 -m uv venv --quiet --seed --clear --python 3.11 .venv
  fi
fi
export PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt # of build environments too
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$1]"
.venv/bin/distill-jax --version
