#!/usr/bin/env bash
# One line about the run of this host: running, its exit code, lost (killed, or the host was restarted) or none.
set -euo pipefail
run=${DISTILL_JAX_RUN:-$HOME/distill_jax_run}

if [[ ! -e $run/lock ]]; then
  echo "distill-jax run: none"
elif ! flock -n "$run/lock" true; then
  echo "distill-jax run: running"
elif [[ -s $run/exit ]]; then
  echo "distill-jax run: exit $(cat "$run/exit")"
else
  echo "distill-jax run: lost"
fi
