#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/pid.h"
#include "base/text.h"
#include "domain/anchor_state.h"

namespace gpuward {

/// What an entry of the ledger tells. The numbers stand in journals and never change meaning; the
/// names are a contract of the JSON output.
enum class EventKind : std::uint8_t {
  // By an anchor, of its tree.
  ended = 0,     ///< the tree is gone, or what is left of it is named: the receipt
  begun = 1,     ///< an anchor was started for it
  adopted = 2,   ///< an anchor took over the living tree of one that had died
  starting = 3,  ///< before main is started
  ready = 4,
  ending = 5,   ///< before TERM is sent to the tree
  killing = 6,  ///< before KILL is sent to it
  unkillable = 7,
  backing_off = 8,
  failed = 9,
  stopped = 10,
  alarm = 11,       ///< its log tells of trouble; where, never what else stands there (harm.md 11)
  log_lost = 12,    ///< output that could not be written
  settings = 13,    ///< it took new settings over
  stop_asked = 14,  ///< of the anchor itself
  restart_asked = 15,  ///< likewise
  release_asked = 24,  ///< likewise: to give its tree up
  released = 25,       ///< who was handed over, at an end, or is about to be: all of it
  // By the warden.
  start_ordered = 32,
  stop_ordered = 33,
  restart_ordered = 34,
  down_ordered = 35,
  up_ordered = 36,
  reload_ordered = 37,
  order_done = 38,  ///< how an order ended; LedgerEntry::of names it
  warden_began = 39,
  warden_ended = 40,
  autostart = 41,    ///< before a service is started because its file says so
  adoption = 42,     ///< before an anchor is started for a living tree that has none
  revival = 43,      ///< before a service is started again whose anchor and tree are both gone
  take_over = 44,    ///< before a person's `start --take-over` ends what gpuward did not start
  tree_killed = 48,  ///< before a tree is killed because its anchor died: 'on_anchor_death'
  // By the warden, of what the kernel's log says of the cards; never a line of it (harm.md 11).
  xid = 80,                    ///< the driver reports an error of a card
  gpu_off_bus = 81,            ///< it says in words that a card no longer answers
  kernel_log_lost = 82,        ///< records were overwritten before they were read
  kernel_log_unreadable = 83,  ///< there is no right to it, or none; a fact, no alarm
  kernel_log_read = 84,        ///< after that: it is read again
  verdict_changed = 96,        ///< of a service, for the worse or back: sentence, code and evidence
  reap_ordered = 104,          ///< before a person's `reap` ends a process that holds GPU memory
  orphan_seen = 105,           ///< a process of ours that has outlived its service holds GPU memory
  idle_holder_seen = 106,  ///< one of a service that runs, and of none of its work any more, does
  // By the warden, of cards and of what it does by its own judgement.
  cordon_ordered = 112,
  uncordon_ordered = 113,
  drain_ordered = 114,
  quarantined = 115,  ///< before a rule takes a card out of use
  quarantine_ended = 116,
  would_restart = 117,  ///< `heal = "observe"`: what would have been done
  healing = 118,        ///< before a sick service is restarted
  heal_refused = 119,   ///< why a sick service is not restarted although `heal` says "act"
  hook = 120,           ///< before a command of `hooks` is started
  hook_done = 121,      ///< how it ended
  canary = 124,         ///< what a service answers to the canary has changed, for worse or back
  // By an anchor, of its tree.
  temp_aged = 122,  ///< files of its temp folder were removed that nobody had used for long
  card_gone = 130,  ///< the driver lists a card no more that it listed before
  // By the ledger, of itself.
  pruned = 64,     ///< older entries were removed
  set_aside = 65,  ///< a damaged file was
  missed = 66,  ///< entries that could not be written, or had left a journal before they were read
};
/// "stop-ordered"; "unknown" for a number of a later version.
std::string_view to_string(EventKind kind);
/// Is this an act that is about to be done, rather than a fact?
bool is_intent(EventKind kind);

/// Who wanted something: a process at the other end of a socket. Programs are named without their
/// arguments, which may hold secrets. Inline: anchors write it down.
struct Actor {
  std::uint32_t uid = 0;
  bool has_login = false;
  std::uint32_t login_uid = 0;  ///< who had logged in, before any sudo (/proc/PID/loginuid)
  Pid pid;                      ///< 0: it lives in another PID namespace
  Text<80> command;             ///< it and its ancestors: "gpuward < bash < sshd"
};

/// One entry of the ledger: what was meant or has happened, by whom, why, on what evidence, and
/// what came of it. Holds no line of any log and no argument of any command.
struct LedgerEntry {
  std::uint64_t number = 0;  ///< 1, 2, 3 ... without a gap; given by the ledger
  std::int64_t at_unix_ms = 0;
  EventKind kind = EventKind::ended;
  std::string service;  ///< empty: about gpuward itself
  std::uint32_t replica = 0;
  std::uint32_t generation = 0;  ///< of main; 0: about none
  std::optional<Actor> actor;    ///< absent: gpuward by its own rules
  std::string why;
  std::string evidence;
  std::string outcome;
  std::uint64_t of = 0;  ///< the entry whose outcome this is; 0: none
  /// Where it was written first, for what comes from a journal: an anchor's life, and which of its
  /// entries. What has been imported once is passed over.
  std::string origin;
  std::uint64_t origin_number = 0;
};

/// @p text for people, up to where it names a process with its command line, "pid 4711 (python
/// ...": arguments may hold secrets. What follows is cut off: a command line may end in anything.
std::string without_commands(std::string_view text);

/// How the ledger is kept.
struct LedgerPolicy {
  std::chrono::milliseconds keep{std::chrono::days(400)};  ///< older entries go
  std::string syslog = "/dev/log";  ///< the socket that its head is sent to; empty: none
  friend bool operator==(const LedgerPolicy&, const LedgerPolicy&) = default;
};

/// "uid 1000, pid 4711: gpuward < bash"; empty for gpuward's own rules.
std::string describe(const std::optional<Actor>& actor);

}  // namespace gpuward
