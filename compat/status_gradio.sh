#!/usr/bin/env bash
# What the Gradio app does, from gpuward's evidence instead of a PID file. Exit code 0.
set -euo pipefail
# shellcheck source=compat/gradio_settings.sh
. "$(dirname "${BASH_SOURCE[0]}")/gradio_settings.sh"

echo "=== $SERVICE status ==="
pid=$(running_pid) || true
if [ -n "$pid" ]; then
  echo "RUNNING (PID $pid)"
  report=$("$gpuward" status --json "$SERVICE")
  memory=$(grep -o '"gpu_memory_bytes":[a-z0-9]*' <<<"$report" | head -1 | cut -d: -f2)
  case $memory in
    '' | null) echo "GPU context: cannot be seen here" ;;
    0) echo "GPU context: WARNING (none; the context was lost or is not made yet)" ;;
    *) echo "GPU context: HEALTHY ($((memory >> 20)) MiB)" ;;
  esac
  echo "Processes in its tree: $(grep -o '"processes":[0-9]*' <<<"$report" | head -1 | cut -d: -f2)"
elif [ -e "$PID_FILE" ]; then
  echo "ZOMBIE (PID file, but the app does not run)"
else
  echo "NOT RUNNING"
fi
echo "Quick commands:"
echo "  $gpuward logs -f $SERVICE"
echo "  $gpuward ps"
echo "  $gpuward status $SERVICE"
