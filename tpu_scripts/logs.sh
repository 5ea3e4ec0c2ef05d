#!/usr/bin/env bash
# Follows the log of a run; Ctrl-C ends the following, not the run.
#
#   logs.sh --name NAME --zone ZONE --project PROJECT [--slices N] [--slice 0] [--worker 0|all] [--lines 100]
#           [--dry_run]
#
# Process 0 alone, on worker 0 of slice 0, logs progress; errors are in the logs of all.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

parse "$@"
((slice < slices)) || die "--slice is $slice but --slices is $slices; slices are counted from 0"
[[ $worker =~ ^([0-9]+|all)$ ]] || die "--worker is '$worker'; give a number or all"
node=$name
((slices == 1)) || node=$name-$slice
ssh_to "$node" "$worker" "tail -n $lines -F distill_jax_run/log"
