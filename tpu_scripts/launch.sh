#!/usr/bin/env bash
# Starts a run on all hosts, in their background: it goes on when the connection is lost.
#
#   launch.sh --name NAME --zone ZONE --project PROJECT [--slices N] [--cache_dir gs://BUCKET/xla]
#             [--env NAME=VALUE ...] [--trainer distill-jax|t5x] [--dry_run] -- train --gin_file=F --gin.NAME=VALUE ...
#
# gs://BUCKET/... in the command, in --cache_dir and in --env is read and written through Cloud Storage FUSE,
# mounted on every host at /gs/BUCKET. MODEL_DIR must be where all hosts see it: there, or on a network drive.
# --cache_dir keeps compiled programs for the next start. A host on which a run is going keeps that one.
# With --trainer t5x the command is one of t5x's, train, eval or infer, on hosts that setup.sh --t5x has set up.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

parse "$@"
need_command
launch
