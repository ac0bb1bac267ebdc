// What an anchor writes into its journal: acts before they are done, and what has become of them.

#include "anchor/anchor.h"
#include "control/actor.h"
#include "os/socket.h"

namespace gpuward::anchor {

void Anchor::note_event(JournalEntry& entry) {
  entry.generation = entry.receipt.generation != 0 ? entry.receipt.generation : life_.generation;
  if (auto written = journal_.append(dir_, entry); !written)
    note_failure("the journal could not be written", written.error());
}

void Anchor::note_event(EventKind kind, std::string_view evidence,
                        const std::optional<Actor>& actor) {
  JournalEntry entry;
  entry.event = kind;
  entry.reason = life_.reason;
  entry.evidence = Text<200>(evidence);
  entry.actor = actor;
  note_event(entry);
}

void Anchor::note_beginning() {
  const bool group = state_.level == Containment::cgroup;
  note_event(adopted_ ? EventKind::adopted : EventKind::begun,
             group ? state_.cgroup.view() : to_string(state_.level), launched_by_);
}

void Anchor::note_intent(life::Action action) {
  if (action == life::Action::spawn) note_event(EventKind::starting);
  if (action == life::Action::term_tree) note_event(EventKind::ending);
  if (action == life::Action::kill_tree && !killing_) note_event(EventKind::killing);
}

void Anchor::note_phase(Phase before, Phase now) {
  if (now == before) return;
  Text<200> text;
  switch (now) {
    case Phase::ready:
      return note_event(EventKind::ready, state_.ready_evidence);
    case Phase::backing_off:
      text.append("failure ").append_number(life_.failures).append(" in a row");
      if (state_.limits.kills != 0)
        text.append("; ").append(describe_kills(state_.limits, plan_.limits));
      return note_event(EventKind::backing_off, text);
    case Phase::failed:
      return note_event(EventKind::failed, describe_kills(state_.limits, plan_.limits));
    case Phase::stopped:
      return note_event(EventKind::stopped);
    case Phase::unkillable:
      return note_event(EventKind::unkillable);
    default:
      return;
  }
}

// Where it stands and a hash of it, never its words (harm.md 11).
void Anchor::note_alarm() {
  const auto& place = log_.alarm_place();
  Text<200> text(to_string(state_.alarm));
  if (place.end != 0)
    text.append(": log bytes ")
        .append_number(static_cast<long long>(place.begin))
        .append(" to ")
        .append_number(static_cast<long long>(place.end));
  constexpr std::string_view kDigits = "0123456789abcdef";
  text.append(", FNV-1a ");
  for (int shift = 60; shift >= 0; shift -= 4) text.append(kDigits[(place.hash >> shift) & 0xfU]);
  note_event(EventKind::alarm, text);
}

void Anchor::note_loss() {
  Text<200> text;
  const std::uint64_t lost = lost_before_ + log_.lost_bytes();
  text.append_number(static_cast<long long>(lost)).append(" bytes of output so far");
  note_event(EventKind::log_lost, text);
}

void Anchor::note_aged(const os::FolderSweep::Tally& tally) {
  const auto limit = std::chrono::duration_cast<std::chrono::seconds>(plan_.temp_max_age);
  Text<200> text;
  text.append_number(static_cast<long long>(tally.files))
      .append(tally.files == 1 ? " file, " : " files, ")
      .append_number(static_cast<long long>(tally.bytes.count))
      .append(" bytes, unused for more than ")
      .append_number(limit.count())
      .append(" s");
  note_event(EventKind::temp_aged, text);
}

void Anchor::note_released(const HandOver& released) {
  Text<200> text;
  for (const auto& process : released.list)
    text.append(text.empty() ? "pid " : ", pid ")
        .append_number(process.id.pid.number)
        .append(" (")
        .append(process.name)
        .append(")");
  if (released.more != 0) text.append(" and ").append_number(released.more).append(" more");
  note_event(EventKind::released, text);
}

void Anchor::note_order(EventKind kind, const os::Peer& who) {
  note_event(kind, {}, control::actor_of(who));
}

void Anchor::note_order(EventKind kind, const os::Fd& socket) {
  if (auto peer = os::peer_of(socket)) return note_order(kind, *peer);
  note_event(kind);
}

}  // namespace gpuward::anchor
