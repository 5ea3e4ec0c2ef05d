#!/usr/bin/env bash
# Asks for a TPU, one slice or several, as a queued resource.
#
#   create.sh --name NAME --zone ZONE --project PROJECT --type TYPE [--slices N] [--spot]
#             [--runtime_version V] [--dry_run]
#
# TYPE is v5litepod-16, v5p-32, v6e-64, v4-32, ...: of one slice. The runtime version follows from it.
# With --spot the TPU is cheaper and may be taken away at any time; see resume.sh.
# Options may come from the environment: TPU_NAME, TPU_ZONE, TPU_PROJECT, TPU_TYPE, TPU_SLICES, TPU_SPOT=yes.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

parse "$@"
create
