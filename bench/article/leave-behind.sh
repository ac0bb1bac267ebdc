#!/usr/bin/env bash
# What the article's scripts leave behind: starts COMMAND by start_gradio.sh, waits, stops it by stop_gradio.sh, lists
# the processes that are left, and exits.
#
#     gpuward run -- bench/article/leave-behind.sh [--until 'SHELL CONDITION'] [--for SECONDS] [--hold] -- COMMAND...
#
# --until  asked again until it is true, at most --for seconds (default 60): exit 1 if it never was.
# --for    alone: simply so long.
# --hold   stays afterwards, as one process, so that `gpuward stop` gives the receipt for what is left (and itself).
# Inside `gpuward run` all that is left is ended with the run; elsewhere it would stay, so it refuses to run elsewhere.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$here/leave-behind.sh" >&2; exit 2; }

condition='' limit=60 hold=
while [ $# -gt 0 ]; do
  case $1 in
    --until) condition=${2:?}; shift 2 ;;
    --for) limit=${2:?}; shift 2 ;;
    --hold) hold=1; shift ;;
    --) shift; break ;;
    *) usage ;;
  esac
done
[ $# -gt 0 ] || usage
[ "$(cat "/proc/$PPID/comm")" = gpuward-anchor ] || { echo "leave-behind: not inside 'gpuward run'" >&2; exit 2; }

APP_DIR=$(mktemp -d)
export APP_DIR LEAVE_BEHIND=$$.$RANDOM.$RANDOM
trap 'rm -rf "$APP_DIR"' EXIT
"$here"/start_gradio.sh "$@"
code=0
deadline=$((SECONDS + limit))
until [ -n "$condition" ] && bash -c "$condition"; do
  if [ $SECONDS -ge $deadline ]; then
    [ -z "$condition" ] || { echo "leave-behind: not within $limit s: $condition" >&2; code=1; }
    break
  fi
  sleep 0.1
done
"$here"/stop_gradio.sh

# Whatever COMMAND started has inherited the variable.
left=0
for entry in /proc/[0-9]*; do
  pid=${entry#/proc/}
  grep -qsz "^LEAVE_BEHIND=$LEAVE_BEHIND\$" "$entry/environ" || continue
  left=$((left + 1))
  echo "left: pid $pid: $(tr '\0' ' ' <"$entry/cmdline" || true)"
done
if [ $left -eq 1 ]; then echo "left behind: 1 process"; else echo "left behind: $left processes"; fi
rm -rf "$APP_DIR"
[ -z "$hold" ] || exec env -u LEAVE_BEHIND sleep infinity
exit $code
