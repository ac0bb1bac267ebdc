#pragma once

#include "control/gpu_fields.h"
#include "control/wire.h"
#include "domain/anchor_state.h"
#include "domain/card.h"
#include "domain/change.h"
#include "domain/event.h"
#include "domain/heal.h"
#include "domain/report.h"

// Every message and every record, field by field. A tag is for ever: new fields get new tags.

namespace gpuward {

/// What stands in run/anchors/NAME.INDEX/record: enough to find, name and adopt the tree.
struct AnchorRecord {
  static constexpr std::uint8_t kKind = 1;
  Text<40> boot_id;
  LaunchPlan plan;
  AnchorState state;
  bool ever_restored =
      false;  ///< by the driver's checkpoint; written before the first restore (harm.md 1)
  /// Every process of the tree that was seen at the last look and is in no cgroup of ours, packed.
  /// Nothing else tells a later anchor that they are ours.
  std::string members;
};

/// Members in a record: of each its pid in 4 bytes and its start time in 8, little-endian.
inline constexpr std::size_t kPackedMember = 12;
void pack(ProcessId id, std::span<char, kPackedMember> into);
std::vector<ProcessId> unpack(std::string_view members);

/// To an anchor, on descriptor 3, once: its plan; or, of one that adopts, only what was looked for.
struct LaunchOrder {
  static constexpr std::uint8_t kKind = 2;
  LaunchPlan plan;
  /// The last anchor here, if whoever starts this one has looked for its tree after its death.
  ProcessId looked_after;
  std::string marked;  ///< who carried the mark of that tree then, packed
};

/// From an anchor to whoever subscribed, at once and on every change.
struct StateNews {
  static constexpr std::uint8_t kKind = 3;
  AnchorState state;
};

/// To an anchor over its control socket. Inline: reading one allocates nothing.
struct AnchorRequest {
  static constexpr std::uint8_t kKind = 4;
  enum class What : std::uint8_t {
    subscribe = 0,
    stop = 1,
    restart = 2,
    memory_answer = 3,  ///< to wants_memory_proof of `generation`
    gpu_held = 4,
    settings = 5,
    release = 9,  ///< gives the whole tree up and exits; no process is touched
  };
  What what = What::subscribe;
  bool has_grace = false;
  std::chrono::milliseconds grace{0};
  bool sees_gpu = false;  ///< this subscriber will answer wants_memory_proof
  std::uint32_t generation = 0;
  MemoryProof proof = MemoryProof::not_visible;
  Bytes bytes;
  std::optional<LiveSettings> settings;
};

/// An entry of an anchor's journal: what it is about to do, or what has happened. Inline.
struct JournalEntry {
  static constexpr std::uint8_t kKind = 5;
  Receipt receipt;  ///< of EventKind::ended
  Reason reason;
  std::int64_t at_unix_ms = 0;
  EventKind event = EventKind::ended;
  std::uint32_t generation = 0;
  std::optional<Actor> actor;
  Text<200> evidence;
  std::uint64_t number = 0;  ///< of this anchor's entries, from 1
  ProcessId anchor;
  Text<40> boot_id;
};

/// From the CLI to the warden.
struct WardenRequest {
  static constexpr std::uint8_t kKind = 6;
  enum class What : std::uint8_t {
    status = 0,
    start = 1,
    stop = 2,
    restart = 3,
    down = 4,
    wait_autostart = 5,
    start_autostart = 6,  ///< and wait: what was stopped or has failed gets a new try
    plan = 7,             ///< what `reload` would change
    reload = 8,
    take_over = 9,         ///< for the ledger: `note` is about to be ended on the service's behalf
    take_over_ended = 10,  ///< and what came of it
    cordon = 11,           ///< `gpu`; `note` says why
    uncordon = 12,
    drain = 13,       ///< cordons `gpu`, then stops every service that is on it
    drain_plan = 14,  ///< what `drain` would end, and what it would not
    holders = 20,     ///< who holds the cards: StatusReport::holders and ::card_sums
    reap = 21,        ///< for the ledger: `note` is about to be ended by hand or by a rule
    reap_ended = 22,  ///< and what came of it
  };
  What what = What::status;
  std::vector<std::string> services;  ///< empty: all
  bool has_timeout = false;
  std::chrono::milliseconds timeout{0};
  std::string note;     ///< of take_over, reap and what came of them, and of cordon
  bool brief = false;   ///< of status: processes are counted, not listed
  std::string gpu;      ///< of cordon, uncordon, drain: as choose_card() takes it
  bool anyway = false;  ///< of start and restart: also onto a card that is out of use
  /// Of stop: only while the service is over and what is left is of this tree, see
  /// AnchorState::tree_variable. Empty: whatever runs.
  std::string left_of;
};

/// How an operation on one service ended, in exit codes of the CLI.
struct ServiceOutcome {
  std::string service;
  std::uint8_t exit_code = 0;
  std::string text;
  bool log_tells = false;  ///< it ran and failed: what it printed last may say why
};

/// What a reload changes, or would change, about one service.
struct ServiceChange {
  enum class Kind : std::uint8_t { added = 0, removed = 1, changed = 2 };
  std::string service;
  Kind kind = Kind::changed;
  std::vector<FieldChange> fields;
  bool runs = false;   ///< it runs now: what waits, waits for a restart
  bool stale = false;  ///< its process is made of an older version
};

/// Who is on a card.
struct CardHolder {
  ProcessId id;
  std::string service;          ///< empty: not of gpuward; it is named and never ended
  std::optional<Bytes> memory;  ///< absent: the driver does not say
};

/// The answer about one card: its marks, and who is on it.
struct CardAnswer {
  CardMark mark;
  std::vector<CardHolder> holders;
  bool holders_visible = false;  ///< false: that nobody is listed says nothing
};

/// The warden's one answer.
struct WardenAnswer {
  static constexpr std::uint8_t kKind = 7;
  std::uint8_t exit_code = 0;
  std::string error;  ///< empty: none
  std::vector<ServiceOutcome> outcomes;
  std::vector<NamedReceipt> receipts;
  std::optional<StatusReport> status;
  std::vector<ServiceChange> changes;
  std::optional<CardAnswer> card;
};

/// The file state/heal: what was restarted by gpuward's own judgement.
struct HealBook {
  static constexpr std::uint8_t kKind = 61;
  std::vector<HealRecord> services;
};

/// One look at the cards, from the sentinel.
struct SnapshotNews {
  static constexpr std::uint8_t kKind = 8;
  GpuSnapshot snapshot;
};

// The field lists. A is wire::Writer or wire::Reader.

template <class A>
void fields(A& a, ProcessId& v) {
  a(1, v.pid), a(2, v.start_ticks);
}
template <class A>
void fields(A& a, EnvVar& v) {
  a(1, v.name), a(2, v.value);
}
template <class A>
void fields(A& a, Readiness& v) {
  a(1, v.kind), a(2, v.address), a(3, v.path), a(4, v.within), a(5, v.text);
}
template <class A>
void fields(A& a, Liveness& v) {
  a(1, v.kind), a(2, v.address), a(3, v.path), a(4, v.every), a(5, v.failures);
}
template <class A>
void fields(A& a, Backoff& v) {
  a(1, v.first), a(2, v.max), a(3, v.reset);
}
template <class A>
void fields(A& a, ExitStatus& v) {
  a(1, v.signaled), a(2, v.value), a(3, v.core), a(4, v.unknown);
}
template <class A>
void fields(A& a, LogPolicy& v) {
  a(1, v.size), a(2, v.age), a(3, v.total), a(4, v.rate), a(5, v.times);
}
template <class A>
void fields(A& a, Limit& v) {
  a(1, v.kind), a(2, v.value);
}
template <class A>
void fields(A& a, LaunchRights& v) {
  a(1, v.uid), a(2, v.gid), a(3, v.groups), a(4, v.umask), a(5, v.limits), a(6, v.capabilities);
  a(7, v.no_new_privileges), a(8, v.oom_score_adj), a(9, v.nice);
}
template <class A>
void fields(A& a, TreeLimits& v) {
  a(1, v.cpu_weight), a(2, v.memory_max);
}
template <class A>
void fields(A& a, LimitState& v) {
  a(1, v.memory_group), a(2, v.cpu_group), a(3, v.memory_trouble), a(4, v.cpu_trouble);
  a(5, v.kills_before), a(6, v.kills);
}
template <class A>
void fields(A& a, ContainerPlan& v) {
  a(1, v.hold), a(2, v.cidfile), a(3, v.cidfile_is_ours), a(4, v.sockets), a(5, v.engine_known),
      a(6, v.only_here), a(7, v.why);
}
template <class A>
void fields(A& a, ContainerTrace& v) {
  a(1, v.id), a(2, v.awaited), a(3, v.seen), a(4, v.cgroup);
}
template <class A>
void fields(A& a, KeptSocket& v) {
  a(1, v.name), a(2, v.address);
}
template <class A>
void fields(A& a, HandedFile& v) {
  a(1, v.name), a(2, v.path);
}
template <class A>
void fields(A& a, LaunchPlan& v) {
  a(1, v.service), a(2, v.replica), a(3, v.command), a(4, v.env), a(5, v.directory), a(6, v.ready);
  a(7, v.port), a(8, v.grace), a(9, v.restart), a(10, v.backoff), a(11, v.pid_file),
      a(12, v.log_file);
  a(13, v.cgroup_name), a(16, v.live), a(17, v.log), a(18, v.rights),
      a(19, v.mark);  // 14 and 15 were used once
  a(20, v.limits), a(21, v.temp_folder), a(30, v.containment), a(31, v.on_anchor_death);
  a(25, v.after), a(26, v.needs);
  a(35, v.container);
  a(40, v.release), a(41, v.temp_max_age), a(42, v.sockets), a(43, v.files);
}
template <class A>
void fields(A& a, Survivor& v) {
  a(1, v.pid), a(2, v.name), a(3, v.state), a(4, v.wchan), a(5, v.killed_for), a(6, v.in_container);
}
template <class A>
void fields(A& a, Released& v) {
  a(1, v.id), a(2, v.session), a(3, v.name);
}
template <class A>
void fields(A& a, HandOver& v) {
  a(1, v.list), a(2, v.more), a(3, v.trouble), a(4, v.all);
}
template <class A>
void fields(A& a, Receipt& v) {
  a(1, v.generation), a(2, v.processes_ended), a(3, v.forced), a(4, v.duration),
      a(5, v.ports_freed);
  a(6, v.ports_held), a(7, v.survivors), a(8, v.memory), a(9, v.gpu_bytes_returned),
      a(10, v.at_unix_ms), a(11, v.only_seen), a(12, v.ports_unknown);
  a(16, v.container), a(17, v.container_proof);
  a(18, v.released);
}
template <class A>
void fields(A& a, AnchorState& v) {
  a(1, v.phase), a(2, v.anchor), a(3, v.main), a(4, v.generation), a(5, v.failures), a(6, v.level);
  a(7, v.cgroup_kind), a(8, v.cgroup), a(9, v.has_exit), a(10, v.last_exit), a(11, v.reason);
  a(12, v.since_ns), a(13, v.next_ns), a(14, v.ready_evidence), a(15, v.gpu_held),
      a(16, v.gpu_seen);
  a(17, v.wants_memory_proof), a(18, v.lost_log_bytes), a(19, v.wakeups), a(20, v.receipt);
  a(21, v.spawn_errno), a(22, v.spawn_failure), a(23, v.stop_asked);
  a(24, v.restart_asked), a(25, v.restart_orders), a(26, v.why_no_cgroup), a(27, v.doubt),
      a(28, v.outside), a(29, v.alarm);
  a(30, v.tree_variable), a(31, v.notify_name), a(32, v.last_failure);
  a(33, v.limits), a(39, v.init);
  a(43, v.container);
  a(47, v.kept), a(48, v.released_group), a(49, v.has_released);
  a(50, v.main_session), a(51, v.name_taken);
  a(58, v.alarm_ns);
}
template <class A>
void fields(A& a, AnchorRecord& v) {
  a(1, v.boot_id), a(2, v.plan), a(3, v.state), a(4, v.ever_restored), a(5, v.members);
}
template <class A>
void fields(A& a, LaunchOrder& v) {
  a(1, v.plan), a(41, v.looked_after), a(42, v.marked);
}
template <class A>
void fields(A& a, StateNews& v) {
  a(1, v.state);
}
template <class A>
void fields(A& a, LiveSettings& v) {
  a(1, v.ready_within), a(2, v.grace), a(3, v.restart), a(4, v.backoff), a(5, v.log),
      a(6, v.live_every), a(7, v.live_failures), a(10, v.limits), a(41, v.temp_max_age);
}
template <class A>
void fields(A& a, AnchorRequest& v) {
  a(1, v.what), a(2, v.has_grace), a(3, v.grace), a(4, v.sees_gpu), a(5, v.generation),
      a(6, v.proof);
  a(7, v.bytes);
  a(8, v.settings);
}
template <class A>
void fields(A& a, Actor& v) {
  a(1, v.uid), a(2, v.has_login), a(3, v.login_uid), a(4, v.pid), a(5, v.command);
}
template <class A>
void fields(A& a, JournalEntry& v) {
  a(1, v.receipt), a(2, v.reason), a(3, v.at_unix_ms), a(4, v.event), a(5, v.generation),
      a(6, v.actor);
  a(7, v.evidence), a(8, v.number), a(9, v.anchor), a(10, v.boot_id);
}
template <class A>
void fields(A& a, SnapshotNews& v) {
  a(1, v.snapshot);
}
template <class A>
void fields(A& a, Evidence& v) {
  a(1, v.what), a(2, v.value), a(3, v.age_seconds);
}
template <class A>
void fields(A& a, TreeProcess& v) {
  a(1, v.pid), a(2, v.parent), a(3, v.depth), a(4, v.command);
}
template <class A>
void fields(A& a, ReplicaReport& v) {
  a(1, v.index), a(2, v.anchor), a(3, v.main), a(4, v.generation), a(5, v.tree), a(6, v.processes);
  a(7, v.gpu_memory), a(8, v.endpoint), a(51, v.log_lost);
}
template <class A>
void fields(A& a, CanaryReport& v) {
  a(1, v.question), a(2, v.golden), a(3, v.last), a(4, v.detail), a(5, v.age_seconds);
  a(6, v.ended), a(7, v.failed_in_a_row), a(8, v.silent_in_a_row), a(9, v.changed_in_a_row);
  a(10, v.trouble);
}
template <class A>
void fields(A& a, ServiceReport& v) {
  a(1, v.name), a(2, v.verdict), a(3, v.sentence), a(4, v.evidence), a(5, v.containment);
  a(6, v.memory_proof), a(7, v.replicas), a(8, v.restarts);
  a(30, v.action), a(31, v.witnesses), a(32, v.verdict_age_seconds);
  a(33, v.canary), a(34, v.listen);
}
template <class A>
void fields(A& a, WardenReport& v) {
  a(1, v.pid), a(2, v.version), a(3, v.uptime_seconds), a(4, v.ledger_trouble);
}
template <class A>
void fields(A& a, KernelLogReport& v) {
  a(1, v.sight), a(2, v.path), a(3, v.detail), a(4, v.lost);
}
template <class A>
void fields(A& a, CardIncident& v) {
  a(1, v.gpu_uuid), a(2, v.pci), a(3, v.xid), a(4, v.in_words), a(5, v.xid_class), a(6, v.action);
  a(7, v.consequence), a(8, v.pid), a(9, v.process), a(10, v.service), a(11, v.times);
  a(12, v.first_age_seconds), a(13, v.age_seconds), a(14, v.sentence);
}
template <class A>
void fields(A& a, CardMark& v) {
  a(1, v.uuid), a(2, v.index), a(3, v.name), a(4, v.cordoned), a(5, v.cordoned_by);
  a(6, v.cordoned_why), a(7, v.cordoned_unix_ms), a(8, v.drained), a(9, v.quarantined);
  a(10, v.rule), a(11, v.evidence), a(12, v.quarantined_unix_ms), a(13, v.boot), a(14, v.remedy);
  a(15, v.lifted_ns), a(16, v.lifted_boot), a(17, v.standing), a(18, v.standing_why);
}
template <class A>
void fields(A& a, CardsOfService& v) {
  a(1, v.service), a(2, v.mark), a(3, v.uuids);
}
template <class A>
void fields(A& a, CardBook& v) {
  a(1, v.marks), a(2, v.services);
}
template <class A>
void fields(A& a, HealTime& v) {
  a(1, v.unix_ms), a(2, v.monotonic_ns), a(3, v.boot);
}
template <class A>
void fields(A& a, HealRestart& v) {
  a(1, v.at), a(2, v.acted), a(3, v.verdict);
}
template <class A>
void fields(A& a, HealRecord& v) {
  a(1, v.service), a(2, v.restarts), a(3, v.gave_up), a(4, v.well_since);
}
template <class A>
void fields(A& a, HealBook& v) {
  a(1, v.services);
}
template <class A>
void fields(A& a, CardHolder& v) {
  a(1, v.id), a(2, v.service), a(3, v.memory);
}
template <class A>
void fields(A& a, CardAnswer& v) {
  a(1, v.mark), a(2, v.holders), a(3, v.holders_visible);
}
template <class A>
void fields(A& a, HolderReport& v) {
  a(1, v.id), a(2, v.gpu), a(3, v.memory), a(4, v.sm_percent), a(5, v.kind), a(6, v.verdict);
  a(7, v.sentence), a(8, v.service), a(9, v.replica), a(10, v.command), a(11, v.uid);
  a(12, v.container), a(13, v.unit), a(14, v.terminal), a(15, v.ports), a(16, v.age_ms);
  a(17, v.idle_ms), a(18, v.refused);
}
template <class A>
void fields(A& a, CardReport& v) {
  a(1, v.gpu), a(2, v.used), a(3, v.owned), a(4, v.orphans), a(5, v.idle_holders);
  a(6, v.strangers), a(7, v.unnamed), a(8, v.phantom), a(9, v.visible);
}
template <class A>
void fields(A& a, StatusReport& v) {
  a(1, v.warden), a(2, v.gpu), a(3, v.services);
  a(20, v.kernel_log), a(21, v.incidents);
  a(50, v.cards);
  a(40, v.holders), a(41, v.card_sums);
}
template <class A>
void fields(A& a, NamedReceipt& v) {
  a(1, v.service), a(2, v.replica), a(3, v.receipt);
}
template <class A>
void fields(A& a, ServiceOutcome& v) {
  a(1, v.service), a(2, v.exit_code), a(3, v.text), a(4, v.log_tells);
}
template <class A>
void fields(A& a, WardenRequest& v) {
  a(1, v.what), a(2, v.services), a(3, v.has_timeout), a(4, v.timeout), a(5, v.note), a(6, v.brief);
  a(40, v.left_of), a(50, v.gpu), a(51, v.anyway);
}
template <class A>
void fields(A& a, FieldChange& v) {
  a(1, v.field), a(2, v.from), a(3, v.to), a(4, v.effect);
}
template <class A>
void fields(A& a, ServiceChange& v) {
  a(1, v.service), a(2, v.kind), a(3, v.fields), a(4, v.runs), a(5, v.stale);
}
template <class A>
void fields(A& a, WardenAnswer& v) {
  a(1, v.exit_code), a(2, v.error), a(3, v.outcomes), a(4, v.receipts), a(5, v.status);
  a(6, v.changes);
  a(50, v.card);
}

}  // namespace gpuward
