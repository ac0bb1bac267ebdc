#include "cli/ps.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <map>
#include <set>

#include "base/utf8.h"
#include "cli/cards.h"
#include "cli/device_line.h"
#include "cli/engine.h"
#include "cli/holder_look.h"
#include "cli/incidents.h"
#include "cli/json.h"
#include "cli/terminal.h"
#include "cli/warden_client.h"
#include "control/phantom.h"
#include "domain/memory_proof.h"
#include "os/clock.h"

namespace gpuward::cli {
namespace {

namespace json = boost::json;

constexpr auto kAskWithin = std::chrono::seconds(1);
constexpr auto kPhantomWithin = std::chrono::milliseconds(500);

struct Row {
  const GpuDevice* device = nullptr;
  const HolderReport* holder = nullptr;
  ContainerFacts facts;  // of its container
};

template <class T>
json::value or_null(const std::optional<T>& value) {
  return value ? json::value(*value) : json::value(nullptr);
}
json::value or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}
json::value seconds_or_null(const std::optional<std::uint64_t>& milliseconds) {
  if (!milliseconds) return nullptr;
  return static_cast<double>(*milliseconds) / 1000;
}

json::object process_json(const Row& row) {
  const HolderReport& holder = *row.holder;
  const bool named = holder.verdict != HolderVerdict::cannot_see;
  json::value owner = nullptr;
  if (!holder.service.empty() && holder.verdict != HolderVerdict::stranger)
    owner = {{"service", holder.service}, {"replica", holder.replica}};
  json::array ports;
  for (const auto port : holder.ports) ports.emplace_back(port);
  return {{"pid", holder.id.pid.number},
          {"start_time_ticks", holder.id.start_ticks},
          {"command", or_null(holder.command)},
          {"user", or_null(user_of(holder))},
          {"container", or_null(short_id(holder.container))},
          {"image", or_null(row.facts.image)},
          {"compose_project", or_null(row.facts.compose_project)},
          {"compose_service", or_null(row.facts.compose_service)},
          {"unit", or_null(holder.unit)},
          {"terminal", or_null(holder.terminal)},
          {"ports", std::move(ports)},
          {"gpu_uuid", holder.gpu},
          {"gpu_memory_bytes",
           holder.memory ? json::value(holder.memory->count) : json::value(nullptr)},
          {"sm_percent", or_null(holder.sm_percent)},
          {"owner", owner},
          {"verdict", or_null(std::string(to_string(holder.verdict)))},
          {"sentence", holder.sentence},
          {"age_seconds", named ? seconds_or_null(holder.age_ms) : json::value(nullptr)},
          {"idle_seconds", seconds_or_null(holder.idle_ms)}};
}

json::object card_json(const CardReport& card) {
  return {{"used", card.used.count},           {"owned", card.owned.count},
          {"orphans", card.orphans.count},     {"idle_holders", card.idle_holders.count},
          {"strangers", card.strangers.count}, {"unnamed", card.unnamed.count},
          {"phantom", card.phantom.count}};
}

void print_json(const HolderLook& look, const std::vector<Row>& rows,
                const std::vector<std::string>& phantom_seen, const std::vector<CardMark>& marks) {
  json::array gpus;
  const Instant now = os::now();
  for (const auto& device : look.gpu.devices) gpus.push_back(device_json(device, marks, now));
  json::array processes;
  for (const auto& row : rows) processes.push_back(process_json(row));
  json::object phantom;
  json::object bytes;
  for (const auto& card : look.cards) {
    if (!card.visible) continue;
    phantom[card.gpu] = card.phantom.count;
    bytes[card.gpu] = card_json(card);
  }
  json::array seen;
  for (const auto& line : phantom_seen) seen.emplace_back(line);
  const json::object root = {{"gpus", std::move(gpus)},
                             {"restarts_blocked", or_null(restarts_blocked(look.gpu))},
                             {"processes", std::move(processes)},
                             {"phantom_bytes", std::move(phantom)},
                             {"phantom_seen", std::move(seen)},
                             {"bytes", std::move(bytes)},
                             {"watched", look.watched},
                             {"warden_silent", look.warden_silent},
                             {"visible", look.gpu.sight == GpuSight::visible},
                             {"note", or_null(describe(look.gpu.sight, look.gpu.detail))}};
  std::printf("%s\n", printable(json::serialize(root)).c_str());
}

// "[container 0123456789ab of clinic/xray:2, clinic/xray] "
std::string container_text(const Row& row) {
  std::string text = "[container " + short_id(row.holder->container);
  if (!row.facts.image.empty()) text += " of " + printable(row.facts.image);
  if (!row.facts.compose_project.empty()) text += ", " + printable(row.facts.compose_project);
  if (!row.facts.compose_service.empty()) text += "/" + printable(row.facts.compose_service);
  return text + "] ";
}

// An engine that hangs costs a second, however many containers there are.
void ask_for_containers(std::vector<Row>& rows) {
  const Instant deadline = os::now() + kAskWithin;
  std::map<std::string, ContainerFacts> known;
  for (auto& row : rows) {
    if (row.holder->container.empty()) continue;
    const auto [at, fresh] = known.try_emplace(row.holder->container);
    if (fresh) at->second = ask_engines(row.holder->container, deadline).value_or(ContainerFacts{});
    row.facts = at->second;
  }
}

// Only where enough is unexplained: looking costs far more than everything else here.
std::vector<std::string> explain_phantoms(const HolderLook& look) {
  const bool enough = std::ranges::any_of(look.cards, [](const CardReport& card) {
    return card.phantom > MemoryWitness::kUnexplainedSlack;
  });
  if (!enough) return {};
  std::set<Pid> rows;
  for (const auto& holder : look.holders)
    if (holder.verdict != HolderVerdict::cannot_see) rows.insert(holder.id.pid);
  auto facts = control::look_for_phantoms(rows, os::now() + kPhantomWithin);
  facts.rows_of_others = !look.gpu.pids_are_ours;
  return explain_phantom(facts);
}

void print_sum(const CardReport& card, const GpuDevice& device) {
  if (!card.visible) return;
  std::string text;
  const auto add = [&](Bytes bytes, const char* of) {
    if (bytes.count == 0) return;
    text += (text.empty() ? "  = " : " + ") + to_string(bytes) + " " + of;
  };
  add(card.owned, "owned");
  add(card.orphans, "of orphans");
  add(card.idle_holders, "of idle holders");
  add(card.strangers, "of strangers");
  add(card.unnamed, "of rows that name nobody here");
  const bool told_apart = device.memory_reserved.count != 0;
  add(card.phantom,
      told_apart ? "of no row (phantom)" : "of no row (phantom, with the driver's own)");
  if (!text.empty()) std::printf("%s\n", text.c_str());
}

std::string owner_of(const HolderReport& holder) {
  switch (holder.verdict) {
    case HolderVerdict::owned:
      return holder.service;
    case HolderVerdict::orphan:
      return holder.service + " (orphan)";
    case HolderVerdict::idle_holder:
      return holder.service + " (idle)";
    case HolderVerdict::stranger:
      return "stranger";
    case HolderVerdict::cannot_see:
      break;
  }
  return "?";  // a pid of another space: it may be anybody's
}

Tone tone_of(HolderVerdict verdict) {
  return verdict == HolderVerdict::orphan || verdict == HolderVerdict::idle_holder ? Tone::warn
                                                                                   : Tone::plain;
}

void print_rows(const std::vector<Row>& rows) {
  Table table({"PID", "GPU", "MEMORY", "BUSY", "IDLE", "OWNER", "USER", "COMMAND"});
  for (const auto& row : rows) {
    const HolderReport& holder = *row.holder;
    std::string command = holder.command.empty() ? "(not a process of this pid space)"
                                                 : shortened(holder.command, 60);
    if (!holder.container.empty()) command.insert(0, container_text(row));
    table.row({std::to_string(holder.id.pid.number), std::to_string(row.device->index),
               holder.memory ? to_string(*holder.memory) : "?",
               holder.sm_percent ? std::to_string(*holder.sm_percent) + " %" : "-",
               holder.idle_ms ? to_string(std::chrono::milliseconds(*holder.idle_ms)) : "-",
               owner_of(holder), user_of(holder), command},
              tone_of(holder.verdict));
  }
  std::fputs(table.text().c_str(), stdout);
  for (const auto& row : rows) {
    const HolderReport& holder = *row.holder;
    const std::string_view code = to_string(holder.verdict);
    if (code.empty()) continue;
    std::string text = "pid " + std::to_string(holder.id.pid.number) + ": " + holder.sentence;
    const std::string origin = holder.verdict == HolderVerdict::stranger ? origin_text(holder) : "";
    if (!origin.empty()) text += "; " + origin;
    std::printf("%s [%s]\n", printable(text).c_str(), std::string(code).c_str());
  }
}

std::string next_command(const HolderLook& look) {
  const bool reapable = std::ranges::any_of(look.holders, [](const HolderReport& holder) {
    return holder.verdict == HolderVerdict::orphan || holder.verdict == HolderVerdict::idle_holder;
  });
  return reapable ? "next: gpuward reap --dry-run"
                  : "next: gpuward run -- COMMAND, or gpuward status";
}

// What a warden, where one runs, has read of these cards in the kernel's log.
void print_incidents(const HolderLook& look) {
  StatusReport report;
  report.gpu = look.gpu;
  report.kernel_log = look.kernel_log;
  report.incidents = look.incidents;
  cli::print_incidents(report);
}

void print_table(const HolderLook& look, const std::vector<Row>& rows,
                 const std::vector<std::string>& phantom_seen, const std::vector<CardMark>& marks) {
  print_blocked(look.gpu);
  for (std::size_t at = 0; at < look.gpu.devices.size(); ++at) {
    const GpuDevice& device = look.gpu.devices[at];
    std::printf("%s%s\n", device_line(device).c_str(), mark_text(marks, device.uuid).c_str());
    print_sum(look.cards[at], device);
  }
  const auto note = describe(look.gpu.sight, look.gpu.detail);
  if (!note.empty()) std::printf("%s\n", note.c_str());
  print_incidents(look);
  if (rows.empty() && note.empty()) std::printf("no process holds GPU memory\n");
  if (!rows.empty()) print_rows(rows);
  for (const auto& line : phantom_seen) std::printf("phantom: %s\n", printable(line).c_str());
  if (look.warden_silent)
    std::printf("the warden did not answer: this is what can be seen without it\n");
  else if (!look.watched && !rows.empty())
    std::printf("no warden watches: since when each is idle is not known\n");
  std::printf("%s\n", paint(Tone::faint, next_command(look)).c_str());
}

}  // namespace

int ps(bool as_json) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  const HolderLook look = look_at_holders(*home);
  std::vector<Row> rows;
  for (const auto& holder : look.holders) {
    const auto device = std::ranges::find(look.gpu.devices, holder.gpu, &GpuDevice::uuid);
    if (device != look.gpu.devices.end()) rows.push_back({&*device, &holder, {}});
  }
  ask_for_containers(rows);
  const auto phantom_seen = explain_phantoms(look);
  const auto marks = look.marks ? *look.marks : kept_marks(home->cards());
  if (as_json)
    print_json(look, rows, phantom_seen, marks);
  else
    print_table(look, rows, phantom_seen, marks);
  return 0;
}

}  // namespace gpuward::cli
