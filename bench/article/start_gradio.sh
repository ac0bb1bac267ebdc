#!/usr/bin/env bash
# The article's start script, written anew from its description: see README.md. usage: start_gradio.sh [COMMAND...]
APP_DIR=${APP_DIR:-$PWD}
PYTHON=${PYTHON:-/opt/miniconda3/envs/torch27/bin/python}
APP_FILE=${APP_FILE:-$APP_DIR/gradio_app.py}
PORT=${PORT:-7860}
PID_FILE=${PID_FILE:-$APP_DIR/gradio_app.pid}
LOG_FILE=${LOG_FILE:-$APP_DIR/logs/gradio_app.log}
OLD_WAIT=${OLD_WAIT:-2}
# shellcheck source-path=SCRIPTDIR source=ours.sh
. "$(dirname "$0")/ours.sh"

if [ -f "$PID_FILE" ]; then
  old=$(cat "$PID_FILE")
  if leads_our_session "$old"; then
    echo "Warning: the old process $old is still there, cleaning up"
    pkill -P "$old"
    kill "$old"
    sleep "$OLD_WAIT"
    kill -9 "$old" 2>/dev/null
  fi
  rm -f "$PID_FILE"
fi

mkdir -p "$(dirname "$LOG_FILE")"
[ $# -gt 0 ] || set -- "$PYTHON" "$APP_FILE" --server-port "$PORT" --server-name 0.0.0.0
setsid "$@" >>"$LOG_FILE" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$PID_FILE"
echo "Started with session PID: $pid" | tee -a "$LOG_FILE"
