#include "cli/reap_act.h"

#include <poll.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "base/utf8.h"
#include "cli/owners.h"
#include "cli/receipt.h"
#include "cli/service_commands.h"
#include "cli/stranger_tree.h"
#include "cli/warden_client.h"
#include "control/gpu_look.h"
#include "control/observe.h"
#include "domain/exit_code.h"
#include "domain/memory_proof.h"
#include "os/clock.h"
#include "os/proc_fs.h"

namespace gpuward::cli {
namespace {

constexpr auto kAnswerWithin = std::chrono::seconds(30);
constexpr auto kLookWithin = std::chrono::seconds(3);
constexpr auto kStrangersGrace = std::chrono::seconds(10);
constexpr int kPauseMs = 50;

int refuse(const ReapItem& item, const std::string& why) {
  std::fprintf(stderr, "gpuward: pid %d is left alone: %s\n", item.holder.id.pid.number,
               printable(why).c_str());
  return kFailed;
}

// The driver tells nobody when memory comes back. @return what the last look says.
MemoryWitness::Answer prove(const MemoryWitness& witness) {
  const Instant give_up = os::now() + kMemoryWithin;
  auto watch = control::GpuWatch::start();
  for (;;) {
    const Instant deadline = os::now() + kLookWithin;
    const auto look = watch ? watch->look(deadline) : Result<GpuSnapshot>(fail(watch.error()));
    const auto judged = look ? witness.judge(*look) : MemoryWitness::Answer{};
    if (judged.proof != MemoryProof::held || os::now() >= give_up) return judged;
    (void)::poll(nullptr, 0, kPauseMs);
  }
}

int settle(const MemoryWitness& witness, const std::string& name, Receipt& receipt) {
  const auto judged = prove(witness);
  receipt.memory = judged.proof;
  receipt.gpu_bytes_returned = judged.returned;
  if (judged.proof != MemoryProof::held) return kDone;
  std::fprintf(stderr, "gpuward: %s: not proven: its GPU memory was not back in time\n",
               name.c_str());
  return kNotProven;
}

// Of @p shown, what is as it was; of the others it is said why they are left alone.
std::vector<ReapItem> look_again(const std::vector<ReapItem>& shown, const ReapLook& now,
                                 int* code) {
  if (now.look.warden_silent) {
    for (const auto& item : shown)
      *code = std::max(*code, refuse(item, "the warden did not answer, so it may be in use"));
    return {};
  }
  std::vector<ReapItem> changed;
  auto same = still_so(shown, now.items, &changed);
  for (const auto& item : changed) {
    const bool lives = os::lives(item.holder.id);
    const int told = refuse(item, lives ? what_changed(item, now.items) : "it has just ended");
    if (lives) *code = std::max(*code, told);
  }
  return same;
}

// `stop` proves an end by what it knows of the tree; it may know less than the list did.
int name_the_living(const std::vector<ReapItem>& items) {
  int code = kDone;
  for (const auto& item : items) {
    if (!os::lives(item.holder.id)) continue;
    std::fprintf(stderr, "gpuward: %s: not proven: pid %d lives (%s)\n",
                 item.holder.service.c_str(), item.holder.id.pid.number,
                 printable(item.holder.command).c_str());
    code = kNotProven;
  }
  return code;
}

// A tree whose service is over: `stop` knows how, with or without a warden.
int end_orphans(const control::Home& home, const std::vector<ReapItem>& shown,
                const std::function<ReapLook()>& look_now, std::vector<NamedReceipt>* receipts) {
  int code = kDone;
  const std::string& service = shown.front().holder.service;
  // Of which tree they are, before it is seen that they still are orphans: one that is started
  // after this is another tree.
  const auto record =
      control::read_record(control::anchor_folder(home, service, shown.front().holder.replica));
  if (!record || record->state.tree_variable.empty())
    return refuse(shown.front(), "the record of service '" + service + "' cannot be read");
  const std::string tree(record->state.tree_variable.view());
  const ReapLook now = look_now();
  const auto items = look_again(shown, now, &code);
  if (items.empty()) return code;
  std::set<std::uint32_t> pids;
  for (const auto& item : items) pids.insert(static_cast<std::uint32_t>(item.holder.id.pid.number));
  MemoryWitness witness;
  witness.see(now.look.gpu, pids);
  std::vector<NamedReceipt> made;
  const int stopped = stop_what_is_left(home, service, tree, &made);
  code = std::max(code, stopped);
  for (auto& receipt : made) {
    // The anchor that takes a tree over ends it at once: perhaps before anybody had looked.
    if (receipt.receipt.survivors.empty())
      code = std::max(code, settle(witness, service, receipt.receipt));
    receipts->push_back(std::move(receipt));
  }
  if (stopped != kFailed) code = std::max(code, name_the_living(items));
  return code;
}

Result<void> note(control::Channel& channel, WardenRequest::What what, const ReapItem& item,
                  std::string text) {
  WardenRequest request;
  request.what = what;
  if (item.holder.verdict == HolderVerdict::idle_holder) request.services = {item.holder.service};
  request.note = std::move(text);
  auto answer = ask_warden(channel, request, os::now() + kAnswerWithin);
  if (!answer) return fail(std::move(answer).error());
  return {};
}

std::string intent_of(const StrangerTree& tree, const ReapItem& item) {
  std::string text(to_string(item.holder.verdict));
  text += ", " + item.why + ":";
  for (const auto& member : tree.members())
    text += " " + std::to_string(member.process.pid().number);
  if (item.holder.memory) text += ", " + to_string(*item.holder.memory);
  return text;
}

// Of those below it that hold a card too, none may be in use: a part of a tree is no better than
// none.
std::string why_not(const StrangerTree& tree, const ReapItem& item, const HolderLook& look,
                    const control::AnchorFolder& folder, const Owners& owners) {
  const bool ours = item.holder.verdict == HolderVerdict::idle_holder;
  auto why = tree.refusal([&](Pid pid) { return ours ? std::string() : owners.of(pid); });
  if (!why.empty()) return why;
  std::set<std::uint32_t> members;
  if (ours) {
    const auto record = control::read_record(folder);
    if (!record) return "its record cannot be read: " + record.error().message();
    members = control::tree_pids(folder, record->state);
  }
  for (const auto& member : tree.members()) {
    const ProcessId& id = member.process.id();
    const std::string it = "pid " + std::to_string(id.pid.number) + " below it ";
    if (ours && member.process.alive() &&
        !members.contains(static_cast<std::uint32_t>(id.pid.number)))
      return it + "is not of service '" + item.holder.service + "'";
    for (const auto& holder : look.holders) {
      if (holder.id != id) continue;
      if (!holder.refused.empty()) return it + "must stay: " + holder.refused;
      if (holder.verdict != item.holder.verdict) return it + "is in use: " + holder.sentence;
    }
  }
  return {};
}

Receipt receipt_of(const StrangerTree::Ended& ended) {
  Receipt receipt;
  receipt.generation = 1;
  receipt.processes_ended = static_cast<std::uint32_t>(ended.count);
  receipt.forced = ended.forced;
  receipt.duration = std::chrono::duration_cast<std::chrono::microseconds>(ended.took);
  receipt.at_unix_ms = os::unix_ms_now();
  for (const auto* member : ended.survivors) receipt.survivors.push_back(survivor_of(*member));
  return receipt;
}

std::string outcome_of(const Receipt& receipt, int code) {
  return "exit " + std::to_string(code) + ": ended " + std::to_string(receipt.processes_ended) +
         (receipt.forced ? ", by KILL" : "") + ", " + std::to_string(receipt.survivors.size()) +
         " left, GPU memory " + std::string(to_string(receipt.memory)) + ": " +
         to_string(receipt.gpu_bytes_returned);
}

int end_process(const control::Home& home, const ReapItem& shown,
                const std::function<ReapLook()>& look_now, std::vector<NamedReceipt>* receipts) {
  int skipped = kDone;
  const ReapLook now = look_now();
  const auto items = look_again({shown}, now, &skipped);
  if (items.empty()) return skipped;
  const ReapItem& item = items.front();
  const HolderLook& look = now.look;
  const Owners owners(home);
  auto channel = connect_warden(home);
  if (!channel) {
    std::fputs(
        "gpuward: what is ended is written down first, and no warden runs here\n"
        "run: gpuward up\n",
        stderr);
    return kNoWarden;
  }
  const bool ours = item.holder.verdict == HolderVerdict::idle_holder;
  const auto folder = control::anchor_folder(home, item.holder.service, item.holder.replica);
  auto tree = StrangerTree::of(item.holder.id);
  if (!tree) return refuse(item, "it has just ended");
  if (const auto why = why_not(*tree, item, look, folder, owners); !why.empty())
    return refuse(item, why);
  std::set<std::uint32_t> pids;
  for (const auto& member : tree->members())
    pids.insert(static_cast<std::uint32_t>(member.process.pid().number));
  MemoryWitness witness;
  witness.see(look.gpu, pids);
  if (auto noted = note(*channel, WardenRequest::What::reap, item, intent_of(*tree, item)); !noted)
    return complain(noted.error());
  std::chrono::milliseconds grace = kStrangersGrace;
  if (ours)
    if (const auto record = control::read_record(folder)) grace = record->plan.grace;
  const auto owner_of = [&](Pid pid) { return ours ? std::string() : owners.of(pid); };
  Receipt receipt = receipt_of(tree->end(grace, owner_of));
  const std::string name = ours ? item.holder.service : "stranger";
  int code = receipt.survivors.empty() ? settle(witness, name, receipt) : kNotProven;
  if (!receipt.survivors.empty()) print_survivors(name, receipt);
  (void)note(*channel, WardenRequest::What::reap_ended, item, outcome_of(receipt, code));
  receipts->push_back({ours ? item.holder.service : "", item.holder.replica, receipt});
  return code;
}

}  // namespace

int end_holders(const control::Home& home, const std::vector<ReapItem>& shown,
                const std::function<ReapLook()>& look_now, std::vector<NamedReceipt>* receipts) {
  int code = kDone;
  std::map<std::string, std::vector<ReapItem>> orphans;  // by service
  for (const auto& item : shown)
    if (item.holder.verdict == HolderVerdict::orphan) orphans[item.holder.service].push_back(item);
  for (const auto& [service, items] : orphans)
    code = std::max(code, end_orphans(home, items, look_now, receipts));
  for (const auto& item : shown)
    if (item.holder.verdict != HolderVerdict::orphan)
      code = std::max(code, end_process(home, item, look_now, receipts));
  return code;
}

}  // namespace gpuward::cli
