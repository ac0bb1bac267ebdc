#include "cli/reap.h"

#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <iostream>

#include "base/utf8.h"
#include "cli/holder_look.h"
#include "cli/json.h"
#include "cli/owners.h"
#include "cli/reap_act.h"
#include "cli/receipt.h"
#include "cli/terminal.h"
#include "cli/warden_client.h"
#include "config/keys.h"
#include "control/anchors.h"
#include "domain/exit_code.h"
#include "domain/reap.h"
#include "domain/stranger_rule.h"
#include "os/proc_fs.h"

namespace gpuward::cli {
namespace {

namespace json = boost::json;

ReapOrder order_of(const ReapOptions& options) {
  ReapOrder order;
  for (const auto& name : options.names) {
    const auto pid = os::parse_pid(name);
    if (pid)
      order.pids.push_back(*pid);
    else
      order.services.push_back(name);
  }
  return order;
}

std::vector<ReapItem> list(const HolderLook& look, const ReapOrder& order,
                           const std::vector<StrangerRule>& rules) {
  return choose(look.holders, order, [&](const HolderReport& holder) {
    const auto groups =
        os::read_file("/proc/" + std::to_string(holder.id.pid.number) + "/cgroup").value_or("");
    return std::ranges::any_of(rules, [&](const StrangerRule& rule) {
      return names(rule, holder, user_of(holder), groups);
    });
  });
}

// What people want to see of it: not those that are in order, unless they asked for them.
bool is_shown(const ReapItem& item) {
  const auto verdict = item.holder.verdict;
  return item.named || (verdict != HolderVerdict::owned && verdict != HolderVerdict::cannot_see);
}

void print_list(std::FILE* out, const std::vector<ReapItem>& items) {
  Bytes sum;
  std::size_t count = 0;
  for (const auto& item : items) {
    if (!is_shown(item)) continue;
    const HolderReport& holder = item.holder;
    const std::string_view code = to_string(holder.verdict);
    std::fprintf(out, "%s pid %d  %s  %s\n", item.ends ? "end  " : "leave", holder.id.pid.number,
                 holder.memory ? to_string(*holder.memory).c_str() : "?",
                 shortened(printable(holder.command), 80).c_str());
    std::string text = holder.sentence;
    if (holder.verdict == HolderVerdict::stranger) text += "; " + origin_text(holder);
    if (!code.empty()) text += " [" + std::string(code) + "]";
    std::fprintf(out, "        %s\n        %s: %s\n", printable(text).c_str(),
                 item.ends ? "ended" : "left alone", printable(item.why).c_str());
    if (!item.ends) continue;
    sum += holder.memory.value_or(Bytes{});
    ++count;
  }
  if (count != 0)
    std::fprintf(out, "%zu process%s to end, %s\n", count, count == 1 ? "" : "es",
                 to_string(sum).c_str());
  else
    std::fputs("nothing to end\n", out);
}

// Names that mean nobody, or somebody who must stay: then nothing is done for the others either.
bool refuses(const std::vector<ReapItem>& items, const ReapOrder& order) {
  bool refused = false;
  const auto say = [&](const std::string& text) {
    std::fprintf(stderr, "gpuward: %s\n", printable(text).c_str());
    refused = true;
  };
  for (const auto& item : items)
    if (std::ranges::find(order.pids, item.holder.id.pid) != order.pids.end() && item.named &&
        !item.ends)
      say("pid " + std::to_string(item.holder.id.pid.number) +
          " is left alone: " + item.holder.sentence + "; " + item.why);
  for (const Pid pid : order.pids)
    if (std::ranges::none_of(
            items, [&](const ReapItem& item) { return item.named && item.holder.id.pid == pid; }))
      say("pid " + std::to_string(pid.number) + " holds no GPU memory that can be seen here");
  return refused;
}

// A service that is in no file and in no record, and of which nothing holds a card.
bool knows_all(const control::Home& home, const config::Parsed& files, const ReapOrder& order,
               const std::vector<ReapItem>& items) {
  std::vector<std::string> known;
  for (const auto* list : {&files.services, &files.broken})
    for (const auto& service : *list) known.push_back(service.name);
  if (const auto folders = control::list_anchors(home))
    for (const auto& folder : *folders) known.push_back(folder.service);
  for (const auto& item : items) known.push_back(item.holder.service);
  const auto unknown = unknown_services(order, known);
  const std::vector<std::string_view> words(known.begin(), known.end());
  for (const auto& name : unknown) {
    const auto near = config::nearest(name, words);
    std::fprintf(stderr, "gpuward: %s: no such service%s%s%s\n", printable(name).c_str(),
                 near.empty() ? "" : "; did you mean '", std::string(near).c_str(),
                 near.empty() ? "" : "'?");
  }
  return unknown.empty();
}

bool may_go_on(const ReapOptions& options, std::size_t count) {
  if (options.yes) return true;
  if (options.json || ::isatty(STDIN_FILENO) != 1 || ::isatty(STDERR_FILENO) != 1) {
    std::fputs("gpuward: nothing was ended; to end these: gpuward reap --yes\n", stderr);
    return false;
  }
  std::fprintf(stderr, "end %s, by TERM and then KILL? [y/N] ", count == 1 ? "it" : "them");
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "yes") return true;
  std::fputs("gpuward: nothing was ended\n", stderr);
  return false;
}

json::array list_json(const std::vector<ReapItem>& items) {
  json::array out;
  for (const auto& item : items) {
    if (!is_shown(item)) continue;
    const HolderReport& holder = item.holder;
    const auto text = [](const std::string& value) {
      return value.empty() ? json::value(nullptr) : json::value(value);
    };
    out.push_back({{"pid", holder.id.pid.number},
                   {"start_time_ticks", holder.id.start_ticks},
                   {"command", text(holder.command)},
                   {"user", text(user_of(holder))},
                   {"service", text(holder.service)},
                   {"verdict", text(std::string(to_string(holder.verdict)))},
                   {"sentence", holder.sentence},
                   {"gpu_memory_bytes",
                    holder.memory ? json::value(holder.memory->count) : json::value(nullptr)},
                   {"would_end", item.ends},
                   {"why", item.why}});
  }
  return out;
}

json::array receipts_json(const std::vector<NamedReceipt>& receipts) {
  auto root = json::parse(stop_json(receipts));
  auto list = root.as_object()["receipts"].as_array();
  for (auto& receipt : list)  // of a stranger
    if (receipt.as_object()["service"].as_string().empty())
      receipt.as_object()["service"] = nullptr;
  return list;
}

std::vector<ReapItem> to_end(const std::vector<ReapItem>& items) {
  std::vector<ReapItem> chosen;
  std::ranges::copy_if(items, std::back_inserter(chosen), &ReapItem::ends);
  return chosen;
}

}  // namespace

int reap(const ReapOptions& options) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  const auto files = read_configuration(*home);
  const auto& rules = files.strangers;
  std::fputs(config::render(files.reap_problems).c_str(), stderr);
  const ReapOrder order = order_of(options);
  const auto look_now = [&] {
    ReapLook seen{look_at_holders(*home), {}};
    seen.items = list(seen.look, order, rules);
    return seen;
  };
  const auto [look, items] = look_now();
  if (look.warden_silent) {
    std::fputs(
        "gpuward: the warden did not answer, so nobody can tell what is in use: nothing is ended\n"
        "next: gpuward status\n",
        stderr);
    return kFailed;
  }
  std::vector<NamedReceipt> receipts;
  if (!options.json) print_list(stdout, items);
  if (const auto note = describe(look.gpu.sight, look.gpu.detail); !note.empty() && !options.json)
    std::printf("%s\n", note.c_str());
  const auto chosen = to_end(items);
  const bool known = knows_all(*home, files, order, items);
  if (refuses(items, order) || !known)
    code = kFailed;
  else if (!options.dry_run && !chosen.empty()) {
    std::fflush(stdout);
    code = may_go_on(options, chosen.size()) ? end_holders(*home, chosen, look_now, &receipts)
                                             : kFailed;
  }
  if (options.json) {
    const json::object root{{"holders", list_json(items)}, {"receipts", receipts_json(receipts)}};
    std::printf("%s\n", printable(json::serialize(root)).c_str());
    return code;
  }
  for (const auto& receipt : receipts)
    print_receipt(stdout, receipt.service.empty() ? "stranger" : receipt.service, receipt.receipt);
  std::printf("%s\n", paint(Tone::faint, options.dry_run && !chosen.empty() ? "next: gpuward reap"
                                                                            : "next: gpuward ps")
                          .c_str());
  return code;
}

}  // namespace gpuward::cli
