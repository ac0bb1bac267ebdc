# shellcheck shell=bash disable=SC2034 # read by start, stop and status: the settings and what they share.
# Every setting may also come from the environment.
APP_DIR=${APP_DIR:-/root/build}
PYTHON=${PYTHON:-/opt/miniconda3/envs/torch27/bin/python}
APP_FILE=${APP_FILE:-$APP_DIR/gradio_app.py}
HOST=${HOST:-0.0.0.0}
PORT=${PORT:-7860}
PID_FILE=${PID_FILE:-$APP_DIR/gradio_app.pid}
LOG_FILE=${LOG_FILE:-$APP_DIR/logs/gradio_app.log}
SERVICE=${SERVICE:-gradio_app}
READY_WITHIN=${READY_WITHIN:-120s}
STOP_GRACE=${STOP_GRACE:-5s}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# gpuward: as told, beside this folder as in the archive, or on the PATH.
if [ -n "${GPUWARD:-}" ]; then
  gpuward=$GPUWARD
elif [ -x "$here/../gpuward" ]; then
  gpuward=$here/../gpuward
else
  gpuward=$(command -v gpuward) || {
    echo "Error: gpuward is not here; set GPUWARD to its path" >&2
    exit 1
  }
fi

# The folder where gpuward reads its configuration.
if [ -n "${GPUWARD_HOME:-}" ]; then
  etc=$GPUWARD_HOME/etc
elif [ "$(id -u)" = 0 ]; then
  etc=/etc/gpuward
else
  etc=${XDG_CONFIG_HOME:-$HOME/.config}/gpuward
fi
toml=$etc/$SERVICE.toml

# main's pid, or nothing where the service does not run.
running_pid() {
  "$gpuward" status --json "$SERVICE" 2>/dev/null | grep -o '"main_pid":[1-9][0-9]*' | head -1 | cut -d: -f2
}
