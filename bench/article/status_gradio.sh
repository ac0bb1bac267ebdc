#!/usr/bin/env bash
# The article's status script, written anew from its description: see README.md.
APP_DIR=${APP_DIR:-$PWD}
PID_FILE=${PID_FILE:-$APP_DIR/gradio_app.pid}
LOG_FILE=${LOG_FILE:-$APP_DIR/logs/gradio_app.log}

echo "=== Gradio service status ==="
if [ -f "$PID_FILE" ]; then
  pid=$(cat "$PID_FILE")
  if kill -0 "$pid" 2>/dev/null; then
    echo "Status: RUNNING (PID: $pid)"
    if nvidia-smi --query-compute-apps=pid --format=csv,noheader 2>/dev/null | grep -qw "$pid"; then
      echo "CUDA context: HEALTHY"
    else
      echo "CUDA context: WARNING (context lost, may need a restart)"
    fi
    echo "Process tree depth: $(pstree -p "$pid" 2>/dev/null | wc -l)"
  else
    echo "Status: ZOMBIE (PID file exists, but no process)"
  fi
else
  echo "Status: NOT RUNNING"
fi
echo
echo "Quick Commands:"
echo "  view the log:   tail -f $LOG_FILE"
echo "  check the GPU:  nvidia-smi"
echo "  list the tree:  pstree -p \$(cat $PID_FILE)"
