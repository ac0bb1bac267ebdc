#include "domain/holder.h"

#include <algorithm>
#include <array>

#include "domain/stranger.h"

namespace gpuward {
namespace {

std::string of_service(const HolderFacts& facts) {
  return "of service '" + facts.service + "'";
}

std::string idle_sentence(const HolderFacts& facts) {
  return of_service(facts) + ", born " + to_string(*facts.idle.born_after_ready) +
         " after it was ready, without CPU or GPU for " + to_string(*facts.idle.idle_for) +
         ", and no client from its birth is left";
}

std::string orphan_sentence(const HolderFacts& facts) {
  return "left over of service '" + facts.service + "', which has ended";
}

std::string stranger_sentence(Lineage lineage, const std::string& service) {
  if (lineage == Lineage::given_up)
    return "was of service '" + service + "' and was handed over on purpose";
  if (lineage == Lineage::other_mark)
    return "started below a gpuward that no record here tells of, perhaps another install";
  return "not started by gpuward";
}

std::string terminal_by_name(std::string_view name) {
  if (name.starts_with("tmux")) return "tmux";
  if (name == "screen" || name == "SCREEN") return "screen";
  if (name.starts_with("jupyter")) return "jupyter";
  if (name.starts_with("sshd")) return "an ssh login";
  return {};
}

}  // namespace

std::string_view to_string(HolderVerdict verdict) {
  switch (verdict) {
    case HolderVerdict::orphan:
      return "ORPHAN";
    case HolderVerdict::idle_holder:
      return "IDLE_HOLDER";
    case HolderVerdict::stranger:
      return "STRANGER";
    case HolderVerdict::cannot_see:
    case HolderVerdict::owned:
      break;
  }
  return "";
}

bool is_idle_holder(const HolderFacts& facts) {
  const IdleFacts& idle = facts.idle;
  if (!facts.named || facts.lineage != Lineage::member || !facts.led) return false;
  if (!idle.limit || !idle.born_after_ready || !idle.idle_for || !idle.connections_left)
    return false;
  if (idle.start_up_body || *idle.born_after_ready <= kStartUpTail) return false;
  return !idle.worked_again && *idle.connections_left == 0 && *idle.idle_for >= *idle.limit;
}

Holding judge(const HolderFacts& facts) {
  if (!facts.named)
    return {HolderVerdict::cannot_see,
            "the driver's number names no process that can be seen here"};
  switch (facts.lineage) {
    case Lineage::left_over:
      return {HolderVerdict::orphan, orphan_sentence(facts)};
    case Lineage::member:
      if (is_idle_holder(facts)) return {HolderVerdict::idle_holder, idle_sentence(facts)};
      return {HolderVerdict::owned,
              of_service(facts) +
                  (facts.led ? "" : ", which nobody leads until `gpuward up` takes it over")};
    case Lineage::none:
    case Lineage::given_up:
    case Lineage::other_mark:
      break;
  }
  return {HolderVerdict::stranger, stranger_sentence(facts.lineage, facts.service)};
}

std::string why_not_reaped(std::uint8_t kind, bool ever_restored) {
  constexpr std::uint8_t kMpsClient = 2;
  if (ever_restored)
    return "the driver's checkpoint has restored its tree, and ending such a tree can hang the "
           "machine";
  if (kind == kMpsClient)
    return "it is a client of MPS, and ending it by force stalls the other clients of that card";
  return {};
}

HolderOrigin origin_of(std::string_view theirs, std::string_view ours,
                       const std::vector<std::string>& ancestors) {
  HolderOrigin origin;
  origin.unit = unit_in(theirs, ours);
  if (theirs.find("/tmux-spawn-") != theirs.npos) origin.terminal = "tmux";
  for (const auto& name : ancestors)
    if (origin.terminal.empty()) origin.terminal = terminal_by_name(name);
  return origin;
}

CardReport sum_up(const GpuDevice& device, const std::vector<HolderReport>& holders) {
  CardReport card;
  card.gpu = device.uuid;
  card.used = device.memory_used;
  card.visible = device.processes_visible;
  Bytes explained;
  for (const auto& holder : holders) {
    if (holder.gpu != device.uuid) continue;
    // Rows are read after the sum: they may say more than is in use by then.
    const Bytes left = device.memory_used - explained;
    const Bytes bytes = std::min(holder.memory.value_or(Bytes{}), left);
    explained += bytes;
    switch (holder.verdict) {
      case HolderVerdict::owned:
        card.owned += bytes;
        break;
      case HolderVerdict::orphan:
        card.orphans += bytes;
        break;
      case HolderVerdict::idle_holder:
        card.idle_holders += bytes;
        break;
      case HolderVerdict::stranger:
        card.strangers += bytes;
        break;
      case HolderVerdict::cannot_see:
        card.unnamed += bytes;
        break;
    }
  }
  if (card.visible) card.phantom = device.memory_used - explained;
  return card;
}

std::vector<std::string> explain_phantom(const PhantomFacts& facts) {
  using Why = PhantomFacts::Suspect::Why;
  std::vector<std::string> lines;
  for (const auto& suspect : facts.suspects) {
    const std::string it =
        "pid " + std::to_string(suspect.pid.number) + " (" + suspect.command + ") ";
    switch (suspect.why) {
      case Why::leader_ended:
        lines.push_back(it + "has ended, but not all of its threads have");
        break;
      case Why::cannot_end:
        lines.push_back(it + "has the card open and cannot be interrupted (state D)");
        break;
      case Why::holds_device:
        if (facts.rows_of_others) break;
        lines.push_back(it +
                        "has the card open and is in no row, as a forked child of a holder is");
        break;
    }
  }
  if (facts.rows_of_others)
    lines.emplace_back(
        "the driver's rows name processes of another PID space: who has the card open and is in no "
        "row cannot be told");
  if (facts.more != 0 && !facts.rows_of_others)
    lines.push_back("and " + std::to_string(facts.more) + " more of these");
  if (facts.own_pid_namespace)
    lines.emplace_back("processes outside this PID namespace cannot be seen from here");
  if (facts.unreadable != 0)
    lines.push_back(std::to_string(facts.unreadable) +
                    " processes of other users could not be looked into; as root they can");
  if (facts.cut) lines.emplace_back("there was no time to look at every process");
  if (lines.empty()) lines.emplace_back("nobody who can be seen has a card open beside the rows");
  return lines;
}

}  // namespace gpuward
