#!/usr/bin/env bash
# Starts the Gradio service under gpuward; returns when it is ready. Exit: 0 it runs, else why not is on stderr.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=gradio.env
. "$(dirname "$(readlink -f "$0")")/gradio.env"

# A TOML basic string. Control characters and {port}, which gpuward would replace, are refused.
quote() {
  local LC_ALL=C value=$1
  case $value in
    *[[:cntrl:]]*)
      die "a control character in '$(printf '%s' "$value" | tr '[:cntrl:]' '?')' cannot be written to the configuration" ;;
    *"{port}"*) die "'{port}' has a meaning in gpuward's configuration: '$value'" ;;
  esac
  value=${value//\\/\\\\}
  printf '"%s"' "${value//\"/\\\"}"
}

configuration() {
  local words address=$HOST word
  local -a arguments
  read -r -d '' -a arguments <<<"$APP_ARGS" || true
  words=$(quote "$PYTHON") || exit
  for word in "$APP_FILE" ${arguments[@]+"${arguments[@]}"}; do
    word=${word//"{host}"/$HOST}
    [ "$word" = "$APP_FILE" ] || word=${word//"{port}"/$PORT}
    word=$(quote "$word") || exit
    words+=", $word"
  done
  case $HOST in
    0.0.0.0 | localhost) address=127.0.0.1 ;;
    ::) address="[::1]" ;;
    *:*) address="[$HOST]" ;;
  esac
  local directory host cuda path pid_file within ready
  directory=$(quote "$APP_DIR") && host=$(quote "$HOST") && cuda=$(quote "$CUDA_VISIBLE_DEVICES") &&
    path=$(quote "$address:$PORT$READY_PATH") && pid_file=$(quote "$PID_FILE") &&
    within=$(quote "$READY_WITHIN") || exit
  ready="http = $path"
  [ -n "$READY_PATH" ] || ready="tcp = $path"
  cat <<TOML
# Written once by start_gradio.sh, which never changes it again: edit here.
[service.$SERVICE]
command   = [$words]
directory = $directory
env       = { CUDA_VISIBLE_DEVICES = $cuda, GRADIO_SERVER_NAME = $host, GRADIO_SERVER_PORT = "$PORT", GRADIO_NUM_PORTS = "1", PYTHONUNBUFFERED = "1" }
ready     = { $ready, within = $within }
stop      = { grace = "5s" }
restart   = "on-failure"
pid_file  = $pid_file
autostart = false
TOML
}

# Only a file that gpuward accepts beside the others gets its name, and an existing one is never replaced.
write_configuration() {
  local wanted problems file
  wanted=$(configuration) || exit
  if [ -e "$toml" ]; then
    [ "$wanted" = "$(cat "$toml")" ] || echo "Note: $toml differs from the variables here; the file is what counts"
    return
  fi
  mkdir -p "$etc" "$(dirname "$PID_FILE")"
  draft=$(mktemp "$etc/.$SERVICE.XXXXXX")
  trap 'rm -f "$draft"' EXIT
  printf '%s\n' "$wanted" >"$draft"
  chmod 644 "$draft"
  local -a others=()
  for file in "$etc"/*.toml; do
    if [ -e "$file" ]; then others+=("$file"); fi
  done
  # A file that is there by now was written by another start at the same moment.
  if ! problems=$("$gpuward" check ${others[@]+"${others[@]}"} "$draft" 2>&1) && [ ! -e "$toml" ] &&
    grep -qF -- "$draft" <<<"$problems"; then
    complain "${problems//"$draft"/"$toml"}"
    die "gpuward would not accept these settings; $toml was not written"
  fi
  if ln "$draft" "$toml" 2>/dev/null; then
    echo "Configuration written: $toml"
  else
    [ -e "$toml" ] || die "could not write $toml"
  fi
}

if [ -n "${GPUWARD_HOME:-}" ]; then
  etc=$(realpath -m -- "$GPUWARD_HOME")/etc
elif [ "$(id -u)" = 0 ]; then
  etc=/etc/gpuward
else
  etc=${XDG_CONFIG_HOME:-$HOME/.config}/gpuward
fi
toml=$etc/$SERVICE.toml

# 1 and 2: the interpreter and the program.
command -v "$PYTHON" >/dev/null 2>&1 || die "Python interpreter not found: $PYTHON"
[ -f "$APP_FILE" ] || die "application file not found: $APP_FILE"
case $PORT in "" | 0* | *[!0-9]* | ??????*) die "PORT '$PORT' is no port" ;; esac

look
if runs; then
  pid=$(number_of main_pid)
  complain "Warning: already running with session PID: ${pid:-none} [$(text_of verdict)]; not started a second time"
  echo "Address: http://$HOST:$PORT"
  exit 0
fi
pid=$(pid_in_file)
if lives "$pid"; then
  complain "Warning: $PID_FILE names process $pid, which gpuward does not hold; it is left alone"
fi

# 3 and 4: the port is looked at and the service started in one step, by gpuward.
write_configuration
code=0
problem=$("$gpuward" up 2>&1 >/dev/null) || code=$?
[ $code -eq 0 ] || complain "$problem"
echo "Starting $SERVICE; it is ready within $READY_WITHIN or given up. Please do not start it twice."
code=0
problem=$("$gpuward" start "$SERVICE" 2>&1 >/dev/null) || code=$?
if [ $code -ne 0 ]; then
  complain "$problem"
  case $problem in
    *" is taken by "*) die_text="port $PORT: address already in use" ;;
    *": no such service"*) die_text="gpuward has been running since before $toml was written, and reads it when it starts:
  gpuward down && gpuward up     # this stops its other services; then start again" ;;
    *) die_text="$SERVICE was not started; what it printed: gpuward logs $SERVICE" ;;
  esac
  complain "Error: $die_text"
  exit $code
fi

# 5: the log.
look
pid=$(number_of main_pid)
note "Started with session PID: $pid"
echo "Started successfully with session PID: $pid"
echo "Address: http://$HOST:$PORT"
echo "PID saved to: $PID_FILE"
