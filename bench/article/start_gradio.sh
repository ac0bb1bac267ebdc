#!/usr/bin/env bash
# What the article's start script does, written anew from its description: see README.md.
# usage: start_gradio.sh COMMAND [ARGUMENT...]; APP_DIR holds the PID file and logs/.
set -u
APP_DIR=${APP_DIR:-/root/build}
PID_FILE=$APP_DIR/gradio_app.pid
LOG_FILE=$APP_DIR/logs/gradio_app.log

mkdir -p "$APP_DIR/logs"
if [ -f "$PID_FILE" ]; then
  old=$(<"$PID_FILE")
  # The second half is ours, not the article's: a number that leads no session is no target.
  if [[ $old =~ ^[1-9][0-9]+$ ]] && [ "$(ps -o sid= -p "$old" | tr -d ' ')" = "$old" ]; then
    echo "Warning: process $old is still there; cleaning it up"
    pkill -P "$old"
    kill -TERM "$old"
    sleep "${TERM_WAIT:-2}"
    kill -KILL "$old" 2>/dev/null
  fi
  rm -f "$PID_FILE"
fi
setsid "$@" >>"$LOG_FILE" 2>&1 &
echo $! >"$PID_FILE"
echo "Started with session PID: $(<"$PID_FILE")" | tee -a "$LOG_FILE"
