#!/usr/bin/env bash
# What the article's status script does, written anew from its description: see README.md.
set -u
APP_DIR=${APP_DIR:-/root/build}
PID_FILE=$APP_DIR/gradio_app.pid

echo "=== MedGemma X-Ray status ==="
if [ ! -f "$PID_FILE" ]; then
  echo "NOT RUNNING (no PID file)"
else
  pid=$(<"$PID_FILE")
  if kill -0 "$pid" 2>/dev/null; then
    echo "RUNNING (PID $pid)"
    if nvidia-smi --query-compute-apps=pid --format=csv,noheader 2>/dev/null | grep -qx "$pid"; then
      echo "GPU context: HEALTHY"
    else
      echo "GPU context: WARNING (lost; a restart may be needed)"
    fi
    echo "Process tree depth: $(pstree -p "$pid" 2>/dev/null | wc -l)"
  else
    echo "ZOMBIE (PID file, but no process $pid)"
  fi
fi
echo "Quick commands: tail -f $APP_DIR/logs/gradio_app.log | nvidia-smi | pstree -p \$(cat $PID_FILE)"
