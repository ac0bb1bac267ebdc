#!/usr/bin/env bash
# The article's stop script, written anew from its description: see README.md.
APP_DIR=${APP_DIR:-$PWD}
PID_FILE=${PID_FILE:-$APP_DIR/gradio_app.pid}
LOG_FILE=${LOG_FILE:-$APP_DIR/logs/gradio_app.log}
TERM_WAIT=${TERM_WAIT:-5}
KILL_WAIT=${KILL_WAIT:-2}
# shellcheck source-path=SCRIPTDIR source=ours.sh
. "$(dirname "$0")/ours.sh"

if [ ! -f "$PID_FILE" ]; then
  echo "No PID file found"
  exit 0
fi
pid=$(cat "$PID_FILE")
if leads_our_session "$pid"; then
  echo "Sending TERM to session $pid"
  kill -TERM -- "-$pid"
  sleep "$TERM_WAIT"
  if kill -0 "$pid" 2>/dev/null; then
    echo "Session $pid is still there, sending KILL"
    kill -KILL -- "-$pid"
    sleep "$KILL_WAIT"
  fi
fi
rm -f "$PID_FILE"
echo "$(date): Session $pid stopped" | tee -a "$LOG_FILE"
