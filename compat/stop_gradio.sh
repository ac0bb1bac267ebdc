#!/usr/bin/env bash
# Stops the Gradio service and everything it started. Exit: that of `gpuward stop`; 0 also when nothing ran.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=gradio.env
. "$(dirname "$(readlink -f "$0")")/gradio.env"

look
pid=$(pid_in_file)
if ! runs; then
  if [ ! -e "$PID_FILE" ]; then
    echo "No PID file found, and $SERVICE is not running"
    exit 0
  fi
  if lives "$pid"; then
    die "$PID_FILE names process $pid, which gpuward does not hold; it was not started by start_gradio.sh and is left alone"
  fi
  echo "$SERVICE is not running; removing the stale PID file $PID_FILE"
  rm -f "$PID_FILE"
  exit 0
fi

main=$(number_of main_pid)
echo "Stopping session ${main:-of $SERVICE}: TERM now, KILL to what is left after 5s"
code=0
"$gpuward" stop "$SERVICE" || code=$?
if [ $code -ne 0 ]; then
  note "$(date): Session ${main:--} NOT proven stopped (exit $code)"
  exit $code
fi
pid=$(pid_in_file)
if [ "$pid" = "$main" ] || ! lives "$pid"; then rm -f "$PID_FILE"; fi  # else another start has written it since
note "$(date): Session ${main:--} stopped"
echo "Session ${main:--} stopped"
