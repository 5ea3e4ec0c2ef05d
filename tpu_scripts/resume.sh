#!/usr/bin/env bash
# Brings a run back: makes the TPU again if it was taken away, and launches the same command, which goes on from
# its newest checkpoint.
#
#   resume.sh OPTIONS OF create.sh, setup.sh AND launch.sh [--watch [--poll_seconds 60] [--max_restarts 10]]
#             [--dry_run] -- train --gin_file=F --gin.NAME=VALUE ...
#
# With --watch it stays, and does so again after every preemption, until the run has ended: exit code 0 if it
# trained to the end, 2 after a mistake that starting again would not mend (the log says which), 1 otherwise.
# --max_restarts counts starts on a TPU that was not taken away.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

parse "$@"
need_command
need_t5x
[[ $trainer == distill-jax || -n $t5x ]] || die "missing: --t5x, the folder that setup.sh was given"
need_runtime_version

# Has the TPU there and set up, made again if need be.
ensure_active() {
  local now made=no
  if [[ $dry_run == yes ]]; then
    say "if SUSPENDED or FAILED delete, create and set up; launch in any case"
    queued_resources describe '--format=value(state.state)'
    delete
    create
    wait_until_active
    setup
    return
  fi
  while true; do
    now=$(state) || die "cannot ask for the state of $name" 1
    case $now in
      ACTIVE) break ;;
      SUSPENDED | FAILED)
        say "$name is $now: making it again"
        delete
        ;;
      SUSPENDING | DELETING) sleep "$poll_seconds" ;;
      ABSENT)
        create
        made=yes
        ;;
      *)
        # It will need setting up when it comes.
        made=yes
        wait_until_active || true
        ;;
    esac
  done
  [[ $made == no ]] || setup
}

# What the hosts say of the run, as one word: running, done, mistake, failed or stopped; unknown if one does
# not answer.
run_state() {
  local report
  report=$(on_all_hosts 'bash distill_jax/tpu_scripts/on_host/status.sh') || {
    printf 'unknown\n'
    return
  }
  if grep -q 'run: running' <<<"$report"; then
    printf 'running\n'
  elif grep -q 'run: exit 2$' <<<"$report"; then
    printf 'mistake\n'
  elif grep -Eq 'run: exit (1|130)$' <<<"$report"; then
    printf 'failed\n'
  elif ! grep -q 'run: ' <<<"$report"; then
    printf 'unknown\n'
  elif grep 'run: ' <<<"$report" | grep -qv 'run: exit 0$'; then
    printf 'stopped\n' # 75, 134, 137, 143, or nothing left to tell: start it again
  else
    printf 'done\n'
  fi
}

# Starts the run wherever it is not running; sets up hosts that are not.
launch_everywhere() {
  if launch; then return; fi
  say "the run could not be started on all hosts: setting them up and trying again"
  setup
  launch
}

ensure_active
launch_everywhere
if [[ $watch == no || $dry_run == yes ]]; then exit 0; fi

restarts=0
while true; do
  sleep "$poll_seconds"
  now=$(state) || continue
  if [[ $now != ACTIVE ]]; then
    ensure_active
    launch_everywhere
    continue
  fi
  case $(run_state) in
    running | unknown) ;;
    done)
      say "the run has ended"
      exit 0
      ;;
    mistake) die "the run ended with a mistake of its command or data; logs.sh --worker all says which" ;;
    failed) die "the run failed; logs.sh --worker all says why" 1 ;;
    stopped)
      ((restarts < max_restarts)) || die "the run stopped again after $restarts restarts; see logs.sh" 1
      restarts=$((restarts + 1))
      say "the run has stopped: starting it again ($restarts of $max_restarts)"
      launch_everywhere
      ;;
  esac
done
