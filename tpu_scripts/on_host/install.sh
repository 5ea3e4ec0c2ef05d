#!/usr/bin/env bash
# Installs the checkout that this file is in, on a TPU host: install.sh EXTRAS (as in tpu,train). With
# the checkouts of t5x, airio and jestimator in t5x/, these are put on its path as they are: what their setup.py
# asks for does not install, and this is what they need beside what is installed here.
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
if [[ -d t5x ]]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
    cached_property clu fiddle tensorboard
  packages=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  printf '%s\n' "$PWD/t5x/t5x" "$PWD/t5x/airio" "$PWD/t5x/jestimator" >"$packages/t5x_checkouts.pth"
  .venv/bin/python -c 'import t5x.models' # says here, and not on all hosts of a run, what is missing
fi
.venv/bin/distill-jax --version
