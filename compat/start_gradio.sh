#!/usr/bin/env bash
# Starts the Gradio app under gpuward; the same name, messages, PID file and exit codes as the script
# it stands in for. Settings: gradio_settings.sh. The service's description is written once, to
# gpuward's configuration folder; edit it there afterwards.
set -euo pipefail
# shellcheck source=compat/gradio_settings.sh
. "$(dirname "${BASH_SOURCE[0]}")/gradio_settings.sh"

refuse() {
  echo "Error: $*" >&2
  exit 1
}

# Control characters have no place in a path or an address.
for setting in APP_DIR PYTHON APP_FILE HOST PORT PID_FILE SERVICE READY_WITHIN STOP_GRACE; do
  [[ ${!setting} != *[[:cntrl:]]* ]] || refuse "$setting holds a control character"
done

# A TOML basic string.
quoted() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

describe() {
  local probe=$HOST
  case $HOST in 0.0.0.0 | '') probe=127.0.0.1 ;; esac
  cat <<TOML
# Written by start_gradio.sh; yours to edit from now on.
[service.$SERVICE]
command   = [$(quoted "$PYTHON"), $(quoted "$APP_FILE")]
directory = $(quoted "$APP_DIR")
env       = { GRADIO_SERVER_NAME = $(quoted "$HOST"), GRADIO_SERVER_PORT = $(quoted "$PORT"), CUDA_VISIBLE_DEVICES = $(quoted "${CUDA_VISIBLE_DEVICES:-0}"), PYTHONUNBUFFERED = "1" }
ready     = { tcp = $(quoted "$probe:$PORT"), within = $(quoted "$READY_WITHIN") }
stop      = { grace = $(quoted "$STOP_GRACE") }
pid_file  = $(quoted "$PID_FILE")
autostart = false
TOML
}

[ -x "$PYTHON" ] || refuse "the interpreter is not there: $PYTHON"
[ -f "$APP_FILE" ] || refuse "the program file is not there: $APP_FILE"
mkdir -p "$(dirname "$LOG_FILE")" "$etc"
if [ ! -e "$toml" ]; then
  text=$(describe)
  printf '%s\n' "$text" >"$toml.new"
  "$gpuward" check "$toml.new" >/dev/null || {
    rm -f "$toml.new"
    refuse "these settings make no service, see above"
  }
  mv "$toml.new" "$toml"
  echo "Wrote $toml"
fi

if pid=$(running_pid) && [ -n "$pid" ]; then
  echo "Already running with PID $pid"
else
  "$gpuward" up >/dev/null
  "$gpuward" start "$SERVICE" >/dev/null || refuse "not started; see: gpuward logs $SERVICE"
  pid=$(running_pid)
  echo "Started with session PID: $pid" >>"$LOG_FILE"
  echo "Started successfully"
fi
echo "Listening on http://$HOST:$PORT"
echo "PID $pid is saved in $PID_FILE"
