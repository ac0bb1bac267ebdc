#pragma once

#include <string_view>

#include "base/error.h"
#include "base/pid.h"
#include "domain/anchor_state.h"
#include "os/cgroup.h"
#include "os/controller.h"

namespace gpuward::anchor {

/// The control groups that keep the limits of one tree. A memory_max that cannot be applied is an
/// error: a limit that is not there is a lie. A cpu_weight that cannot is said in the state, and
/// the service runs without. Only fresh() and taken_over() allocate.
class Limits {
 public:
  Limits() = default;
  /// Makes what @p wanted needs beside @p tree, as groups called @p name, and sets it. Says in @p
  /// state where they are.
  static Result<Limits> fresh(const TreeLimits& wanted, const os::Cgroup& tree,
                              std::string_view name, LimitState* state);
  /// Those of a dead anchor.
  static Limits taken_over(const LimitState& state);

  /// For a new generation: groups that somebody removed are made anew, every value is set again,
  /// and kills count from here.
  Result<void> renew(const TreeLimits& wanted, LimitState* state);
  /// Moves @p main in, before its first instruction.
  Result<void> enter(Pid main) const;
  /// Moves @p process, which is no longer of the tree, out of the groups beside it.
  void let_out(Pid process) const;
  /// Other values while the tree runs. What cannot hold yet is said in @p state.
  void change(const TreeLimits& wanted, LimitState* state) const;
  /// Brings the count of kills up to date.
  void count_kills(LimitState* state) const;
  /// Removes the groups; call when the tree is empty.
  void remove();

 private:
  os::ControllerGroup memory_;
  os::ControllerGroup cpu_;
};

}  // namespace gpuward::anchor
