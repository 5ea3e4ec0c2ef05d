#!/usr/bin/env bash
# Waits for the TPU, copies this checkout to all its hosts and installs it there.
#
#   setup.sh --name NAME --zone ZONE --project PROJECT [--slices N] [--extras tpu,train]
#            [--t5x FOLDER] [--dry_run]
#
# Versions are those of constraints.txt. --extras tpu leaves out SeqIO and TensorFlow, which only preparing
# data needs. --t5x brings t5x to the hosts as well, for launch.sh --trainer t5x: FOLDER has checkouts
# of t5x, airio and jestimator under these names.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

parse "$@"
[[ $extras =~ ^[a-z0-9]+(,[a-z0-9]+)*$ ]] || die "--extras is '$extras'; give names of setup.py, as in tpu,train"
need_t5x
wait_until_active
setup
