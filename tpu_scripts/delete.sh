#!/usr/bin/env bash
# Gives the TPU back, with the queued resource, whatever runs on it. MODEL_DIR stays.
#
#   delete.sh --name NAME --zone ZONE --project PROJECT [--dry_run]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

parse "$@"
delete
