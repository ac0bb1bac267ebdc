# shellcheck shell=bash
# The one thing the article's scripts do not have: before a signal goes to a number out of a file, it must be the leader
# of a session that was there before the file was written, so that a stale file cannot hit another program.
leads_our_session() { # PID
  case $1 in "" | 0* | 1 | *[!0-9]*) return 1 ;; esac
  local session age
  read -r session age < <(ps -o sid=,etimes= -p "$1") || return 1
  [ "$session" = "$1" ] && [ $((age + 1)) -ge $(($(date +%s) - $(stat -c %Y "$PID_FILE"))) ]
}
