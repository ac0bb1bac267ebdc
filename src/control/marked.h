#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "base/pid.h"
#include "domain/anchor_state.h"

namespace gpuward::control {

/// Who carries the mark of one tree in its environment.
struct MarkedTree {
  ProcessId anchor;     ///< of that tree, dead before it was looked for; 0: nobody has looked
  std::string members;  ///< packed; empty: nobody carries it
};

/// One look at every process of this machine for the marks of trees whose anchors are dead. Each of
/// a thousand anchors that take over, or begin where others ended, would have to look by itself.
///
/// What is told of a tree stays true: its anchor was dead before the look began, so whoever carries
/// its mark later descends from somebody who was seen. Another anchor that led it meanwhile has
/// written its own name into the record.
class MarkedProcesses {
 public:
  static constexpr std::size_t kMostMembers = 256;  ///< of one tree: it fits beside a plan

  MarkedProcesses() = default;
  /// Looks now. @p dead: anchors that have ended.
  static MarkedProcesses look(std::set<ProcessId> dead);

  /// Of the tree that @p last tells of, or nothing: its anchor lived, or there are too many.
  MarkedTree of(const AnchorState& last) const;

 private:
  std::set<ProcessId> dead_;
  std::multimap<std::string, ProcessId, std::less<>> found_;  // by the whole variable
};

}  // namespace gpuward::control
