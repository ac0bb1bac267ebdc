#!/usr/bin/env bash
# Runs a service under the article's scripts and stays, so that whoever owns this process's tree can
# count what the stop script leaves. Run it inside `gpuward run`, which ends the rest.
# usage: leave-behind.sh APP_DIR ASK TELL COMMAND [ARGUMENT...]
#   writes "started" to the named pipe TELL, waits for a line in ASK, stops, writes "stopped", waits.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export APP_DIR=$1
ask=$2
tell=$3
shift 3

"$here/start_gradio.sh" "$@"
echo started >"$tell"
read -r _ <"$ask"
"$here/stop_gradio.sh"
echo stopped >"$tell"
read -r _ <"$ask"
