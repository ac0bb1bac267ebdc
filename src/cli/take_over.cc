#include "cli/take_over.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <iostream>

#include "base/utf8.h"
#include "cli/owners.h"
#include "cli/receipt.h"
#include "cli/stranger_tree.h"
#include "cli/terminal.h"
#include "cli/user_name.h"
#include "cli/warden_client.h"
#include "config/config.h"
#include "domain/exit_code.h"
#include "os/clock.h"
#include "os/proc_fs.h"

namespace gpuward::cli {
namespace {

namespace json = boost::json;

constexpr auto kAnswerWithin = std::chrono::seconds(30);
constexpr auto kFreeWithin = std::chrono::seconds(2);
constexpr auto kStaysFree = std::chrono::seconds(1);
constexpr int kAskAgainMs = 20;
constexpr std::size_t kMostFiles = 8;
constexpr std::size_t kMostShown = 20;

// One address of one service, and who holds it.
struct Case {
  std::string service;
  std::string address;
  std::chrono::milliseconds grace{};
  StrangerTree tree;
  std::string refused;  // why nobody is ended; empty: they may be
  std::optional<Receipt> receipt;
  std::string holder;               // who holds the port after the end
  std::vector<std::string> spared;  // of those found on the way: who was left alone, and why
  bool free_by_now = false;         // before anybody was ended

  bool proven() const { return receipt && receipt->survivors.empty() && holder.empty(); }
};

std::string line_of(Pid pid) {
  const auto command = os::read_command(pid, 100);
  return "pid " + std::to_string(pid.number) + " (" + (command ? *command : "ended") + ")";
}

std::string user_of(Pid pid) {
  static const std::string passwd = os::read_file("/etc/passwd").value_or("");
  const auto uid = os::read_uid(pid);
  return uid ? user_name(*uid, passwd) : "?";
}

std::vector<std::string> files_of_tree(const StrangerTree& tree) {
  std::vector<std::string> files;
  for (const auto& member : tree.members())
    for (auto& file : files_of(member.process.pid(), kMostFiles))
      if (files.size() < kMostFiles && std::ranges::find(files, file) == files.end())
        files.push_back(std::move(file));
  return files;
}

void show(const Case& item) {
  std::fprintf(stderr, "%s: %s is held by what gpuward did not start:\n", item.service.c_str(),
               item.address.c_str());
  std::size_t shown = 0;
  for (const auto& member : item.tree.members()) {
    if (++shown > kMostShown) break;
    const Pid pid = member.process.pid();
    std::fprintf(stderr, "  %*s%d  %s  %s\n", static_cast<int>(member.depth * 2), "", pid.number,
                 user_of(pid).c_str(), shortened(printable(member.command), 100).c_str());
    if (member.depth != 0) continue;
    const std::string folder = folder_of(pid);
    if (!folder.empty()) std::fprintf(stderr, "      in %s\n", printable(folder).c_str());
    std::fprintf(stderr, "      started by %s, which is left alone\n",
                 printable(line_of(member.parent)).c_str());
    if (const auto unit = unit_of(pid); !unit.empty())
      std::fprintf(stderr,
                   "      it is a unit of systemd, which may start it again: systemctl stop %s\n",
                   printable(unit).c_str());
  }
  if (item.tree.members().size() > kMostShown)
    std::fprintf(stderr, "  and %zu more\n", item.tree.members().size() - kMostShown);
  for (const auto& file : files_of_tree(item.tree))
    std::fprintf(stderr, "      file %s\n", printable(file).c_str());
}

json::object json_of(const Case& item) {
  json::array processes;
  for (const auto& member : item.tree.members())
    processes.push_back({{"pid", member.process.pid().number},
                         {"ppid", member.parent.number},
                         {"depth", member.depth},
                         {"user", user_of(member.process.pid())},
                         {"command", member.command},
                         {"directory", folder_of(member.process.pid())}});
  json::array files;
  for (const auto& file : files_of_tree(item.tree)) files.emplace_back(file);
  json::object out{
      {"service", item.service},
      {"address", item.address},
      {"processes", std::move(processes)},
      {"files", std::move(files)},
      {"refused", item.refused.empty() ? json::value(nullptr) : json::value(item.refused)},
      {"receipt", nullptr}};
  return out;
}

json::object json_of(const Receipt& receipt, bool port_free) {
  json::array survivors;
  for (const auto& left : receipt.survivors)
    survivors.push_back({{"pid", left.pid.number}, {"command", left.name.view()}});
  return {{"processes_ended", receipt.processes_ended},
          {"survivors", std::move(survivors)},
          {"port_free", port_free},
          {"forced", receipt.forced},
          {"duration_seconds", std::chrono::duration<double>(receipt.duration).count()}};
}

// What stands in the files must be what the warden will start, or the wrong port would be cleared.
std::string not_as_the_files_say(control::Channel& channel,
                                 const std::vector<std::string>& services) {
  WardenRequest request;
  request.what = WardenRequest::What::plan;
  const auto answer = ask_warden(channel, request, os::now() + kAnswerWithin);
  if (!answer) return answer.error().message();
  if (!answer->error.empty()) return answer->error;
  for (const auto& change : answer->changes)
    if (std::ranges::find(services, change.service) != services.end() &&
        (change.kind != ServiceChange::Kind::changed || !change.fields.empty()))
      return change.service + ": its file has changed; first: gpuward reload";
  return {};
}

std::vector<std::string> fixed_addresses(const ServiceModel& service) {
  std::vector<std::string> addresses;
  const auto take = [&](const std::string& address) {
    const bool fixed = !address.empty() && address.find("{port}") == std::string::npos;
    if (fixed && std::ranges::find(addresses, address) == addresses.end())
      addresses.push_back(address);
  };
  if (service.ready.kind == ReadyKind::tcp || service.ready.kind == ReadyKind::http)
    take(service.ready.address);
  if (service.live.kind == LiveKind::http) take(service.live.address);
  return addresses;
}

// @return those whose address is held, or nothing where one could not even be looked at.
std::optional<std::vector<Case>> find_cases(const std::vector<ServiceModel>& models,
                                            const std::vector<std::string>& services,
                                            const Owners& owners) {
  std::vector<Case> cases;
  for (const auto& model : models) {
    if (std::ranges::find(services, model.name) == services.end() || owners.runs(model.name))
      continue;
    const auto addresses = fixed_addresses(model);
    if (addresses.empty())
      std::fprintf(stderr,
                   "gpuward: %s has no fixed port in 'ready': there is nothing to take over\n",
                   model.name.c_str());
    for (const auto& text : addresses) {
      const auto address = os::parse_tcp_address(text);
      if (!address) continue;  // the start says so
      auto tree = StrangerTree::at(*address);
      if (!tree) {
        std::fprintf(stderr, "gpuward: %s: %s: %s\n", model.name.c_str(), text.c_str(),
                     tree.error().message().c_str());
        return std::nullopt;
      }
      if (tree->empty()) continue;
      Case item{model.name, text, model.grace, std::move(*tree), {}, {}, {}, {}, false};
      item.refused = item.tree.refusal([&](Pid pid) { return owners.of(pid); });
      cases.push_back(std::move(item));
    }
  }
  return cases;
}

// On a terminal the question is put, elsewhere it has to be answered beforehand.
bool may_go_on(const std::vector<Case>& cases, const ServiceOptions& options) {
  if (options.yes) return true;
  std::size_t count = 0;
  for (const auto& item : cases) count += item.tree.members().size();
  if (options.json || ::isatty(STDIN_FILENO) != 1 || ::isatty(STDERR_FILENO) != 1) {
    std::fputs("gpuward: nothing was ended; to end these and start: --take-over --yes\n", stderr);
    return false;
  }
  std::fprintf(stderr, "end %s %zu process%s, by TERM and then KILL? [y/N] ",
               count == 1 ? "this" : "these", count, count == 1 ? "" : "es");
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "yes") return true;
  std::fputs("gpuward: nothing was ended\n", stderr);
  return false;
}

bool is_taken(const os::TcpAddress& address) {
  const auto taken = os::port_taken(address);
  return taken && *taken;  // without the right to try, the start tells
}

// Asks until @p address is free, or as long as it stays so: is it @p taken at the end?
bool wait_while(const os::TcpAddress& address, bool taken, Duration longest) {
  const Instant give_up = os::now() + longest;
  while (is_taken(address) == taken) {
    if (os::now() >= give_up) return taken;
    (void)::poll(nullptr, 0, kAskAgainMs);
  }
  return !taken;
}

// Free, and not taken again at once by whoever had started the last one.
bool is_free_and_stays(const os::TcpAddress& address, bool may_come_back) {
  if (wait_while(address, true, kFreeWithin)) return false;
  return !may_come_back || !wait_while(address, false, kStaysFree);
}

// What was shown is what may be ended: a port that changed hands while the question stood, or while
// others were ended, is somebody else's.
std::string why_not_as_shown(Case& item, const os::TcpAddress& address) {
  switch (item.tree.held(address)) {
    case StrangerTree::Held::by_members:
      return {};
    case StrangerTree::Held::no:
      item.free_by_now = true;
      return {};
    case StrangerTree::Held::by_others:
      break;
  }
  return item.address + " is not held by those that were shown any more: look at it again";
}

void end(Case& item, const Owners& owners) {
  const auto owner_of = [&](Pid pid) { return owners.of(pid); };
  const auto address = os::parse_tcp_address(item.address);
  item.tree.gather();  // while the question stood
  item.refused = why_not_as_shown(item, *address);
  if (item.refused.empty() && !item.free_by_now) item.refused = item.tree.refusal(owner_of);
  if (!item.refused.empty() || item.free_by_now) return;
  const auto ended = item.tree.end(item.grace, owner_of);
  Receipt receipt;
  receipt.generation = 1;
  receipt.processes_ended = static_cast<std::uint32_t>(ended.count);
  receipt.forced = ended.forced;
  receipt.duration = std::chrono::duration_cast<std::chrono::microseconds>(ended.took);
  for (const auto* member : ended.survivors) {
    if (!member->spared.empty()) item.spared.push_back(member->spared);
    receipt.survivors.push_back(survivor_of(*member));
  }
  if (is_free_and_stays(*address, item.tree.may_come_back())) {
    receipt.ports_freed.push_back(address->port());
  } else {
    receipt.ports_held.push_back(address->port());
    item.holder = "somebody who cannot be seen from here";
    const auto next = StrangerTree::at(*address);
    if (next && !next->empty())
      item.holder = line_of(next->members().front().process.pid()) + ", started by " +
                    line_of(next->members().front().parent);
  }
  item.receipt = receipt;
}

// @return the exit code that the end of @p item deserves.
int tell_end(const Case& item, bool as_json) {
  if (item.free_by_now) {
    std::fprintf(stderr, "gpuward: %s: %s is free by now: nothing was ended\n",
                 item.service.c_str(), item.address.c_str());
    return kDone;
  }
  if (!item.receipt) return kFailed;
  if (!as_json) print_receipt(stdout, item.service, *item.receipt, false);
  if (!item.receipt->survivors.empty()) print_survivors(item.service, *item.receipt);
  for (const auto& why : item.spared)
    std::fprintf(stderr, "gpuward: %s: left alone: %s\n", item.service.c_str(),
                 printable(why).c_str());
  if (!item.holder.empty())
    std::fprintf(stderr, "gpuward: %s: not proven: %s is held by %s\n", item.service.c_str(),
                 item.address.c_str(), printable(item.holder).c_str());
  return item.proven() ? kDone : kNotProven;
}

void tell_refusals(const std::vector<Case>& cases) {
  for (const auto& item : cases)
    if (!item.refused.empty())
      std::fprintf(stderr, "gpuward: %s: nothing was ended: %s\n", item.service.c_str(),
                   printable(item.refused).c_str());
}

// For the ledger, before it is done and after: pids alone, since arguments may hold secrets.
Result<void> note(control::Channel& channel, WardenRequest::What what, const Case& item,
                  std::string text) {
  WardenRequest request;
  request.what = what;
  request.services = {item.service};
  request.note = std::move(text);
  auto answer = ask_warden(channel, request, os::now() + kAnswerWithin);
  if (!answer) return fail(std::move(answer).error());
  return {};
}

std::string intent_of(const Case& item) {
  std::string text = item.address + " is held by";
  for (const auto& member : item.tree.members())
    text += " " + std::to_string(member.process.pid().number);
  return text;
}

std::string outcome_of(const Case& item) {
  if (item.free_by_now) return "exit 0: nothing was ended, port free by now";
  if (!item.receipt) return "exit 1: " + item.refused;
  std::string text = "exit " + std::to_string(item.proven() ? kDone : kNotProven) + ": ended " +
                     std::to_string(item.receipt->processes_ended);
  if (item.receipt->forced) text += ", by KILL";
  if (!item.receipt->survivors.empty())
    text += ", " + std::to_string(item.receipt->survivors.size()) + " left";
  return text + (item.holder.empty() ? ", port free" : ", port held");
}

int refuse_or_end(std::vector<Case>& cases, const ServiceOptions& options, const Owners& owners,
                  control::Channel& channel) {
  const auto refused = [](const Case& item) { return !item.refused.empty(); };
  if (std::ranges::any_of(cases, refused)) {
    tell_refusals(cases);
    return kFailed;
  }
  if (!may_go_on(cases, options)) return kFailed;
  int code = kDone;
  for (auto& item : cases) {
    // A warden that does not even answer could start nothing afterwards.
    auto noted = note(channel, WardenRequest::What::take_over, item, intent_of(item));
    if (!noted) return complain(noted.error());
    end(item, owners);
    (void)note(channel, WardenRequest::What::take_over_ended, item, outcome_of(item));
    code = std::max(code, tell_end(item, options.json));
  }
  tell_refusals(cases);
  return code;
}

}  // namespace

int take_over(const control::Home& home, const ServiceOptions& options) {
  auto channel = connect_warden(home);
  if (!channel) return complain(channel.error());
  if (const auto why = not_as_the_files_say(*channel, options.services); !why.empty()) {
    std::fprintf(stderr, "gpuward: nothing was ended: %s\n", why.c_str());
    return kFailed;
  }
  const Owners owners(home);
  const auto parsed = read_configuration(home);
  auto cases = find_cases(parsed.services, options.services, owners);
  if (!cases) return kFailed;
  if (!options.json)
    for (const auto& item : *cases) show(item);
  json::array list;
  for (const auto& item : *cases) list.push_back(json_of(item));  // while they live
  const int code = cases->empty() ? kDone : refuse_or_end(*cases, options, owners, *channel);
  if (options.json) {
    for (std::size_t at = 0; at < cases->size(); ++at) {
      const Case& item = (*cases)[at];
      auto& object = list[at].as_object();
      if (!item.refused.empty()) object["refused"] = item.refused;
      if (item.receipt) object["receipt"] = json_of(*item.receipt, item.holder.empty());
    }
    const json::object root{{"taken_over", std::move(list)}};
    std::printf("%s\n", printable(json::serialize(root)).c_str());
  }
  return code;
}

}  // namespace gpuward::cli
