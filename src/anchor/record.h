#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/pid.h"
#include "control/messages.h"
#include "os/fd.h"

// What an anchor writes down for those who come after it: in its folder the record (what it leads,
// replaced at every change), elsewhere the PID file of scripts that want one. Only reading
// allocates.

namespace gpuward::anchor {

/// Replaces the record in @p dir by rename: a reader sees the old one or the new one, whole. As
/// many of @p members as fit beside the plan. Errors: EMSGSIZE; as open(2), write(2), rename(2).
Result<void> write_record(const os::Fd& dir, const Text<40>& boot_id, const LaunchPlan& plan,
                          const AnchorState& state, bool ever_restored,
                          const std::vector<ProcessId>& members);

/// @p path is absolute; an empty one is no PID file: nothing is done.
Result<void> write_pid_file(const std::string& path, Pid main);
/// Removes it only while it names @p main: another start may own it by now.
void remove_pid_file(const std::string& path, Pid main);

}  // namespace gpuward::anchor
