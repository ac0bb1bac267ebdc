#!/usr/bin/env bash
# Stops the Gradio app with everything it started, and proves it. Exit code: 0 stopped and proven, or
# there was nothing to stop; else gpuward's (4: not proven, the survivors are named).
set -euo pipefail
# shellcheck source=compat/gradio_settings.sh
. "$(dirname "${BASH_SOURCE[0]}")/gradio_settings.sh"

pid=$(running_pid) || true
if [ -z "$pid" ]; then
  if [ -e "$PID_FILE" ]; then
    rm -f "$PID_FILE"
    echo "The PID file was stale: the app does not run"
  else
    echo "No PID file found"
  fi
  # It may be waiting for its next try: that is to end, too.
  "$gpuward" stop "$SERVICE" >/dev/null 2>&1 || true
  exit 0
fi
echo "Sending TERM to session $pid and all it started"
code=0
"$gpuward" stop "$SERVICE" || code=$?
[ $code -ne 0 ] || rm -f "$PID_FILE"
mkdir -p "$(dirname "$LOG_FILE")"
[ $code -ne 0 ] || echo "$(date): Session $pid stopped" | tee -a "$LOG_FILE"
exit $code
