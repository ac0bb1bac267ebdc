#!/usr/bin/env bash
# What the Gradio service does, and whether its main process holds a GPU. Exit: 0.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=gradio.env
. "$(dirname "$(readlink -f "$0")")/gradio.env"

# Rows of `gpuward ps` of this service's processes, one a line.
held_by_us() { sed 's/{"pid":/\
&/g' <<<"$cards" | grep -F '"owner":{"service":"'"$SERVICE"'"' || true; }

context_check() {
  local cards rows verdict
  cards=$("$gpuward" ps --json 2>/dev/null) || cards=
  rows=$(held_by_us)
  verdict=$(text_of verdict)
  if [ "$verdict" != HEALTHY ]; then
    echo "WARNING ($verdict: $(text_of sentence))"
  elif grep -q '^{"pid":'"$main"',' <<<"$rows"; then
    echo "HEALTHY (PID $main holds the GPU)"
  elif ! grep -qF '"visible":true' <<<"$cards"; then
    echo "UNKNOWN (the GPU cannot be seen here)"
  elif grep -qF '"command":null' <<<"$cards"; then
    echo "UNKNOWN (the driver's process numbers are not those of this container)"
  elif [ -n "$rows" ]; then
    echo "WARNING (main process has no GPU context, only its children do; may need a restart)"
  else
    echo "WARNING (context lost: no process of $SERVICE holds a GPU; may need a restart)"
  fi
}

echo "=== Gradio service: $SERVICE ==="
look
main=$(number_of main_pid)
pid=$(pid_in_file)
if runs && [ -n "$main" ]; then
  echo "Status: RUNNING (PID: $main)"
  echo "GPU context: $(context_check)"
  depth=$(grep -o '"depth":[0-9]*' <<<"$state" | sort -t: -k2n | tail -n 1 | cut -d: -f2)
  echo "Process tree depth: $((depth + 1)), processes: $(number_of processes)"
elif lives "$pid"; then
  echo "Status: RUNNING (PID: $pid), but not held by gpuward"
elif [ -e "$PID_FILE" ]; then
  echo "Status: ZOMBIE (PID file exists, but no process ${pid:-in it})"
else
  echo "Status: NOT RUNNING"
fi
if [ -z "$main" ] && [ -n "$state" ]; then echo "gpuward: $(text_of sentence) [$(text_of verdict)]"; fi
echo
echo "Quick Commands:"
echo "  view the log:   gpuward logs -f $SERVICE    (starts and stops: tail $LOG_FILE)"
echo "  check the GPU:  gpuward ps"
echo "  list the tree:  gpuward status $SERVICE"
