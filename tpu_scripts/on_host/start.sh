#!/usr/bin/env bash
# start.sh [--trainer t5x] ARGUMENT...: starts `distill-jax ARGUMENT...`, or a script of t5x's, in the background of
# this host; its log, and its exit code when it has ended, are in ~/distill_jax_run. Does nothing if a run is going.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

run=${DISTILL_JAX_RUN:-$HOME/distill_jax_run}
mount=${DISTILL_JAX_GS:-/gs}

fail() {
  printf 'start.sh: error: %s\n' "$1" >&2
  exit 2
}

# Cloud Storage as files. Checkpoints are renamed when they are whole, and what a host writes others must see
# at once.
mount_buckets() {
  if mountpoint -q "$mount"; then return; fi
  if ! command -v gcsfuse >/dev/null; then
    local key=/usr/share/keyrings/cloud.google.asc where=https://packages.cloud.google.com/apt
    curl -fsSL "$where/doc/apt-key.gpg" | sudo tee "$key" >/dev/null
    echo "deb [signed-by=$key] $where gcsfuse-$(. /etc/os-release && echo "$VERSION_CODENAME") main" |
      sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
    sudo apt-get -o DPkg::Lock::Timeout=300 update -qq
    sudo apt-get -o DPkg::Lock::Timeout=300 install -qq -y gcsfuse
  fi
  sudo mkdir -p "$mount"
  sudo chown "$(id -u):$(id -g)" "$mount"
  gcsfuse --implicit-dirs --rename-dir-limit=200000 --metadata-cache-ttl-secs=0 "$mount"
}

[[ -x .venv/bin/distill-jax ]] || fail "distill-jax is not installed on this host; run setup.sh first"
program=(.venv/bin/distill-jax)
if [[ ${1-} == --trainer ]]; then
  [[ $2 == t5x ]] || fail "--trainer is '$2'; it is t5x or left out"
  [[ -d t5x ]] || fail "t5x is not on this host; run setup.sh --t5x FOLDER first"
  program=(.venv/bin/python -m distill_jax.interop.t5x.launch)
  shift 2
fi
mkdir -p "$run"
# The run keeps this file open, and so locked, for as long as it lives.
exec 9>"$run/lock"
if ! flock -n 9; then
  echo "distill-jax run: running already"
  exit 0
fi

arguments=()
for argument in "$@"; do arguments+=("${argument//gs:\/\//$mount/}"); done
variables=()
while IFS= read -r -d '' variable; do
  if [[ $variable == *gs://* ]]; then variables+=("${variable//gs:\/\//$mount/}"); fi
done < <(env -0)
if [[ "${arguments[*]} ${variables[*]-}" == *"$mount/"* ]]; then mount_buckets 9>&-; fi

rm -f "$run/exit"
printf '== %s %s %s\n' "$(date -u +%FT%TZ)" "${program[-1]##*/}" "${arguments[*]}" >>"$run/log"
# SIGTERM is for the run, which saves a checkpoint; this shell waits to write down its exit code.
# shellcheck disable=SC2016  # expanded by the shell in the background
nohup setsid bash -c 'trap : TERM; run=$1; shift; "$@"; echo $? >"$run/exit"' distill-jax "$run" \
  env ${variables[@]+"${variables[@]}"} "${program[@]}" "${arguments[@]}" \
  >>"$run/log" 2>&1 </dev/null &
echo "distill-jax run: started"
