#include "cli/ps.h"

#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <map>

#include "base/utf8.h"
#include "cli/cards.h"
#include "cli/engine.h"
#include "cli/incidents.h"
#include "cli/look_commands.h"
#include "cli/terminal.h"
#include "cli/user_name.h"
#include "cli/warden_client.h"
#include "control/gpu_look.h"
#include "control/observe.h"
#include "domain/memory_proof.h"
#include "os/clock.h"
#include "os/container.h"
#include "os/proc_fs.h"

namespace gpuward::cli {
namespace {

namespace json = boost::json;

constexpr auto kLookWithin = std::chrono::seconds(5);
constexpr auto kAskWithin = std::chrono::seconds(1);

struct Owner {
  std::string service;
  std::uint32_t replica = 0;
};

struct Row {
  const GpuDevice* device = nullptr;
  const GpuProcess* process = nullptr;
  std::string command;
  std::string user;
  std::string container;  // the whole id
  ContainerFacts facts;   // of it
  std::optional<Owner> owner;
  std::optional<double> age_seconds;
};

std::map<pid_t, Owner> owners(const control::Home& home) {
  std::map<pid_t, Owner> owned;
  auto folders = control::list_anchors(home);
  if (!folders) return owned;
  for (const auto& folder : *folders) {
    auto record = control::read_record(folder);
    if (!record) continue;
    for (const auto pid : control::tree_pids(folder, record->state))
      owned[static_cast<pid_t>(pid)] = Owner{folder.service, folder.replica};
  }
  return owned;
}

Row describe_row(const GpuDevice& device, const GpuProcess& process, bool ours,
                 const std::string& passwd, const std::map<pid_t, Owner>& owned) {
  Row row;
  row.device = &device;
  row.process = &process;
  if (!ours) return row;  // the number may belong to an innocent here (harm.md 4)
  const Pid pid{static_cast<pid_t>(process.pid)};
  if (auto command = os::read_command(pid, 300)) row.command = *command;
  if (auto uid = os::read_uid(pid)) row.user = user_name(*uid, passwd);
  row.container = std::string(os::container_of(pid).view());
  if (auto at = owned.find(pid.number); at != owned.end()) row.owner = at->second;
  if (process.start_ticks != 0) {
    const double hertz = static_cast<double>(::sysconf(_SC_CLK_TCK));
    timespec boot{};
    ::clock_gettime(CLOCK_BOOTTIME, &boot);
    row.age_seconds = static_cast<double>(boot.tv_sec) + static_cast<double>(boot.tv_nsec) / 1e9 -
                      static_cast<double>(process.start_ticks) / hertz;
  }
  return row;
}

template <class T>
json::value or_null(const std::optional<T>& value) {
  return value ? json::value(*value) : json::value(nullptr);
}
json::value or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

void print_json(const GpuSnapshot& snapshot, const std::vector<Row>& rows) {
  json::array processes;
  for (const auto& row : rows) {
    json::value owner = nullptr;
    if (row.owner) owner = {{"service", row.owner->service}, {"replica", row.owner->replica}};
    json::value memory = nullptr;
    if (row.process->memory) memory = row.process->memory->count;
    processes.push_back(
        {{"pid", row.process->pid},
         {"start_time_ticks", row.process->start_ticks},
         {"command", or_null(row.command)},
         {"user", or_null(row.user)},
         {"container", or_null(short_id(row.container))},
         {"image", or_null(row.facts.image)},
         {"compose_project", or_null(row.facts.compose_project)},
         {"compose_service", or_null(row.facts.compose_service)},
         {"gpu_uuid", row.device->uuid},
         {"gpu_memory_bytes", memory},
         {"sm_percent", or_null(row.process->sm_percent.maybe())},
         {"owner", owner},
         {"verdict",
          row.owner || !snapshot.pids_are_ours ? json::value(nullptr) : json::value("STRANGER")},
         {"age_seconds", or_null(row.age_seconds)},
         {"idle_seconds", nullptr}});
  }
  json::object phantom;
  for (const auto& device : snapshot.devices) {
    if (device.processes_visible) phantom[device.uuid] = unexplained_bytes(device);
  }
  const json::object root = {{"processes", std::move(processes)},
                             {"phantom_bytes", std::move(phantom)},
                             {"visible", snapshot.sight == GpuSight::visible},
                             {"note", or_null(describe(snapshot.sight, snapshot.detail))}};
  std::printf("%s\n", printable(json::serialize(root)).c_str());
}

// "[container 0123456789ab of clinic/xray:2, clinic/xray] "
std::string container_text(const Row& row) {
  std::string text = "[container " + short_id(row.container);
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
    if (row.container.empty()) continue;
    const auto [at, fresh] = known.try_emplace(row.container);
    if (fresh) at->second = ask_engines(row.container, deadline).value_or(ContainerFacts{});
    row.facts = at->second;
  }
}

// What a warden, where one runs, has read of these cards in the kernel's log.
StatusReport incidents_of(const control::Home& home, const GpuSnapshot& snapshot) {
  auto report = look(home, {}, true).value_or(StatusReport{});
  report.gpu = snapshot;
  return report;
}

void print_table(const GpuSnapshot& snapshot, const std::vector<Row>& rows,
                 const StatusReport& told, const std::vector<CardMark>& marks) {
  for (const auto& device : snapshot.devices) {
    std::printf("GPU %u: %s, %s of %s used", device.index, device.name.c_str(),
                to_string(device.memory_used).c_str(), to_string(device.memory_total).c_str());
    if (device.busy_percent) std::printf(", %u %% busy", *device.busy_percent);
    std::printf("%s%s\n", mark_text(marks, device.uuid).c_str(),
                device.processes_visible ? "" : "; its processes cannot be seen from here");
  }
  const auto note = describe(snapshot.sight, snapshot.detail);
  if (!note.empty()) std::printf("%s\n", note.c_str());
  print_incidents(told);
  if (rows.empty() && note.empty()) std::printf("no process holds GPU memory\n");
  if (!rows.empty()) {
    Table table({"PID", "GPU", "MEMORY", "BUSY", "OWNER", "USER", "COMMAND"});
    for (const auto& row : rows) {
      std::string command =
          row.command.empty() ? "(not a process of this pid space)" : shortened(row.command, 60);
      if (!row.container.empty()) command.insert(0, container_text(row));
      table.row({std::to_string(row.process->pid), std::to_string(row.device->index),
                 row.process->memory ? to_string(*row.process->memory) : "?",
                 row.process->sm_percent ? std::to_string(*row.process->sm_percent) + " %" : "-",
                 row.owner                ? row.owner->service
                 : snapshot.pids_are_ours ? "stranger"
                                          : "?",  // a pid of another space: it may be anybody's
                 row.user, command});
    }
    std::fputs(table.text().c_str(), stdout);
  }
  std::printf("%s\n",
              paint(Tone::faint, "next: gpuward run -- COMMAND, or gpuward status").c_str());
}

}  // namespace

int ps(bool as_json) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  const GpuSnapshot snapshot = control::look_at_gpus(os::now() + kLookWithin);
  const auto passwd = os::read_file("/etc/passwd", 4 << 20).value_or("");
  const auto owned = owners(*home);
  std::vector<Row> rows;
  for (const auto& device : snapshot.devices)
    for (const auto& process : device.processes)
      rows.push_back(describe_row(device, process, snapshot.pids_are_ours, passwd, owned));
  ask_for_containers(rows);
  if (as_json)
    print_json(snapshot, rows);
  else
    print_table(snapshot, rows, incidents_of(*home, snapshot), kept_marks(home->cards()));
  return 0;
}

}  // namespace gpuward::cli
