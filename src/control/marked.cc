#include "control/marked.h"

#include <utility>

#include "control/messages.h"
#include "os/proc_fs.h"
#include "os/process.h"

namespace gpuward::control {

MarkedProcesses MarkedProcesses::look(std::set<ProcessId> dead) {
  MarkedProcesses look;
  look.dead_ = std::move(dead);
  (void)os::for_each_process([&](Pid pid) {
    os::for_each_variable(pid, [&](std::string_view text) {
      // One inside another has the mark of both.
      if (!text.starts_with(kTreeVariable)) return true;
      if (const auto process = os::Process::open(pid)) look.found_.emplace(text, process->id());
      return true;
    });
  });
  return look;
}

MarkedTree MarkedProcesses::of(const AnchorState& last) const {
  if (!last.anchor || !dead_.contains(last.anchor)) return {};
  MarkedTree tree{last.anchor, {}};
  const auto [first, end] = found_.equal_range(last.tree_variable.view());
  for (auto at = first; at != end; ++at) {
    if (tree.members.size() == kMostMembers * kPackedMember) return {};
    std::array<char, kPackedMember> packed{};
    pack(at->second, packed);
    tree.members.append(packed.data(), packed.size());
  }
  return tree;
}

}  // namespace gpuward::control
