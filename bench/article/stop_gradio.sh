#!/usr/bin/env bash
# What the article's stop script does, written anew from its description: see README.md.
# TERM_WAIT and KILL_WAIT are its pauses in seconds (5 and 2).
set -u
APP_DIR=${APP_DIR:-/root/build}
PID_FILE=$APP_DIR/gradio_app.pid
LOG_FILE=$APP_DIR/logs/gradio_app.log

if [ ! -f "$PID_FILE" ]; then
  echo "No PID file found"
  exit 0
fi
pid=$(<"$PID_FILE")
# Ours, not the article's: a number that leads no session of its own is no target.
if [[ ! $pid =~ ^[1-9][0-9]+$ ]] || [ "$(ps -o sid= -p "$pid" | tr -d ' ')" != "$pid" ]; then
  echo "Session $pid is gone"
  rm -f "$PID_FILE"
  exit 0
fi
echo "Sending TERM to session $pid"
kill -TERM -- "-$pid"
sleep "${TERM_WAIT:-5}"
if kill -0 "$pid" 2>/dev/null; then
  echo "Session $pid is still there: KILL"
  kill -KILL -- "-$pid"
  sleep "${KILL_WAIT:-2}"
fi
rm -f "$PID_FILE"
echo "$(date): Session $pid stopped" | tee -a "$LOG_FILE"
