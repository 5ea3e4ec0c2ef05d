# shellcheck shell=bash
# shellcheck disable=SC2034  # variables are used by the scripts that source this file
# What the scripts share: options, and the one place that runs or prints commands.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(dirname "$here")
script=$(basename "$0")

name=${TPU_NAME:-} zone=${TPU_ZONE:-} project=${TPU_PROJECT:-} type=${TPU_TYPE:-}
runtime_version=${TPU_RUNTIME_VERSION:-} slices=${TPU_SLICES:-1} spot=${TPU_SPOT:-no}
dry_run=no cache_dir='' extras=tpu,train poll_seconds=60 max_restarts=10 watch=no
slice=0 worker=0 lines=100 trainer=distill-jax t5x=''
environment=() arguments=()

# die TEXT [CODE]: one line, and the end.
die() {
  printf '%s: error: %s\n' "$script" "$1" >&2
  exit "${2:-2}"
}

say() { printf '%s: %s\n' "$script" "$1" >&2; }

# The comment at the top of a script is its help.
help() {
  sed -n '2,/^[^#]/{/^#/!d; s/^# \{0,1\}//; p;}' "$here/$script"
  exit 0
}

# parse OPTION...: sets the variables above; what follows `--` is the command line of a run.
parse() {
  while (($#)); do
    local option=$1 value
    shift
    case $option in
      --) arguments=("$@") && break ;;
      --help | -h) help ;;
      --dry_run | --spot | --watch)
        printf -v "${option#--}" yes
        continue
        ;;
      --*=*) value=${option#*=} option=${option%%=*} ;;
      --*)
        (($#)) || die "$option needs a value"
        value=$1
        shift
        ;;
      *) die "unexpected argument '$option'; the distill-jax command comes after --" ;;
    esac
    case $option in
      --env) environment+=("$value") ;;
      --name | --zone | --project | --type | --runtime_version | --slices | --cache_dir | --extras | \
        --poll_seconds | --max_restarts | --slice | --worker | --lines | --trainer | --t5x) printf -v "${option#--}" %s "$value" ;;
      *) die "unknown option $option; see $script --help" ;;
    esac
  done
  need name zone project
  [[ $name =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] ||
    die "--name is '$name'; use lower-case letters, digits and inner hyphens, a letter first"
  [[ $slices =~ ^[1-9][0-9]*$ ]] || die "--slices is '$slices'; give a number from 1"
  case $spot in yes | no) ;; *) die "TPU_SPOT is '$spot'; set it to yes or no" ;; esac
  case $trainer in distill-jax | t5x) ;; *) die "--trainer is '$trainer'; give distill-jax or t5x" ;; esac
  for option in slice poll_seconds max_restarts lines; do
    [[ ${!option} =~ ^[0-9]+$ ]] || die "--$option is '${!option}'; give a number"
  done
  local variable
  for variable in ${environment[@]+"${environment[@]}"}; do
    [[ $variable =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || die "--env is '$variable'; give NAME=VALUE"
  done
  if [[ $dry_run == no ]] && ! command -v gcloud >/dev/null; then
    die "gcloud is not installed; install Google Cloud's command line, or look with --dry_run"
  fi
}

# need VARIABLE...: ends unless each has a value.
need() {
  local variable missing=''
  for variable in "$@"; do
    [[ -n ${!variable} ]] || missing+=" --$variable (or TPU_$(tr '[:lower:]' '[:upper:]' <<<"$variable"))"
  done
  [[ -z $missing ]] || die "missing:$missing"
}

need_command() {
  ((${#arguments[@]})) || die "missing: the distill-jax command, after --, as in: -- train --gin_file=..."
  case $trainer/${arguments[0]} in
    distill-jax/train | t5x/train | t5x/eval | t5x/infer) ;;
    t5x/*) die "the command is '${arguments[0]}'; t5x has train, eval and infer" ;;
    *) die "the command is '${arguments[0]}'; on all hosts together only train runs" ;;
  esac
}

# The runtime of TPU virtual machines, by the kind of chip.
need_runtime_version() {
  need type
  if [[ -n $runtime_version ]]; then return; fi
  case $type in
    v4-*) runtime_version=tpu-ubuntu2204-base ;;
    v5litepod-*) runtime_version=v2-alpha-tpuv5-lite ;;
    v5p-*) runtime_version=v2-alpha-tpuv5 ;;
    v6e-*) runtime_version=v2-alpha-tpuv6e ;;
    *) die "--type is '$type'; use v4-N, v5litepod-N, v5p-N or v6e-N, or give --runtime_version as well" ;;
  esac
}

# words WORD...: as a shell reads them back, on one line.
words() {
  local LC_ALL=C word line='' apostrophe="'" escaped="'\\''"
  for word in "$@"; do
    case $word in
      '' | *[!A-Za-z0-9_@%+=:,./-]*) word="'${word//$apostrophe/$escaped}'" ;;
    esac
    line+="${line:+ }$word"
  done
  printf '%s' "$line"
}

# run COMMAND...: everything that changes something goes through here; --dry_run prints it instead.
run() {
  if [[ $dry_run == yes ]]; then
    words "$@"
    printf '\n'
    return
  fi
  printf '+ %s\n' "$(words "$@")" >&2
  "$@"
}

cloud() { run gcloud "$@"; }

queued_resources() {
  local verb=$1
  shift
  cloud compute tpus queued-resources "$verb" "$name" --zone="$zone" --project="$project" "$@"
}

# The names of the slices' nodes, as create.sh has them made.
nodes() {
  local number
  if ((slices == 1)); then
    printf '%s\n' "$name"
    return
  fi
  for ((number = 0; number < slices; number++)); do printf '%s-%d\n' "$name" "$number"; done
}

# ssh_to NODE WORKER COMMAND
ssh_to() {
  cloud compute tpus tpu-vm ssh "$1" --zone="$zone" --project="$project" --worker="$2" --command="$3"
}

copy_to() {
  cloud compute tpus tpu-vm scp "$2" "$1:$3" --zone="$zone" --project="$project" --worker=all
}

# on_all FUNCTION ARGUMENT...: `FUNCTION NODE ARGUMENT...` for all slices at once; fails if one does.
on_all() {
  local function=$1 node pid failed=0 pids=()
  shift
  for node in $(nodes); do
    if [[ $dry_run == yes ]]; then
      "$function" "$node" "$@"
    else
      "$function" "$node" "$@" &
      pids+=("$!")
    fi
  done
  for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" || failed=1; done
  return "$failed"
}

on_all_hosts() { on_all ssh_worker_all "$1"; }
ssh_worker_all() { ssh_to "$1" all "$2"; }

# The state of the queued resource: ACTIVE, WAITING_FOR_RESOURCES, SUSPENDED ...; ABSENT if there is none.
state() {
  local answer attempt errors
  errors=$(mktemp)
  for attempt in 1 2 3; do
    if answer=$(queued_resources describe '--format=value(state.state)' 2>"$errors"); then
      rm -f "$errors"
      printf '%s\n' "$answer"
      return
    elif grep -q NOT_FOUND "$errors"; then
      rm -f "$errors"
      printf 'ABSENT\n'
      return
    fi
    ((attempt == 3)) || sleep "$poll_seconds"
  done
  cat "$errors" >&2
  rm -f "$errors"
  return 1
}

# Waits until all slices are there. Fails if they will not come by themselves.
wait_until_active() {
  local now before=''
  if [[ $dry_run == yes ]]; then
    queued_resources describe '--format=value(state.state)'
    return
  fi
  while true; do
    now=$(state) || die "cannot ask for the state of $name" 1
    [[ $now == "$before" ]] || say "$name is $now"
    before=$now
    case $now in
      ACTIVE) return ;;
      SUSPENDING | SUSPENDED | FAILED | DELETING | ABSENT)
        say "$name is $now; resume.sh makes it again"
        return 1
        ;;
    esac
    sleep "$poll_seconds"
  done
}

create() {
  need_runtime_version
  local which=(--node-id="$name") more=()
  ((slices == 1)) || which=(--node-count="$slices" --node-prefix="$name")
  [[ $spot == no ]] || more=(--spot)
  queued_resources create "${which[@]}" --accelerator-type="$type" \
    --runtime-version="$runtime_version" ${more[@]+"${more[@]}"}
}

delete() { queued_resources delete --force --quiet; }

# Where --t5x is a folder with the checkouts that t5x runs from; they are not on PyPI.
need_t5x() {
  local package
  for package in ${t5x:+t5x airio jestimator}; do
    [[ -d $t5x/$package/$package ]] ||
      die "--t5x is '$t5x', which has no $package/$package; give a folder with checkouts of t5x, airio and jestimator"
  done
}

setup() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/distill_jax archive unpack=''
  archive=$cache/checkout.tar.gz
  run mkdir -p "$cache"
  run tar -czf "$archive" -C "$checkout" --exclude=__pycache__ \
    setup.py pyproject.toml constraints.txt README.md LICENSE distill_jax runtime tasks gin tpu_scripts
  on_all copy_to "$archive" checkout.tar.gz
  if [[ -n $t5x ]]; then
    run tar -czf "$cache/t5x.tar.gz" -C "$t5x" --exclude=__pycache__ --exclude=.git t5x airio jestimator
    on_all copy_to "$cache/t5x.tar.gz" t5x.tar.gz
    unpack="mkdir -p t5x && tar -xzf ../t5x.tar.gz -C t5x && "
  fi
  # What an earlier checkout had and this one has not must not stay.
  on_all_hosts "mkdir -p distill_jax && cd distill_jax && rm -rf distill_jax runtime tasks gin tpu_scripts t5x && tar -xzf ../checkout.tar.gz && ${unpack}bash tpu_scripts/on_host/install.sh $(words "$extras")"
}

launch() {
  local variables=(${environment[@]+"${environment[@]}"}) which=()
  [[ -z $cache_dir ]] || variables+=("JAX_COMPILATION_CACHE_DIR=$cache_dir")
  [[ $trainer == distill-jax ]] || which=(--trainer "$trainer")
  on_all_hosts "$(words env ${variables[@]+"${variables[@]}"} bash distill_jax/tpu_scripts/on_host/start.sh \
    ${which[@]+"${which[@]}"} "${arguments[@]}")"
}
