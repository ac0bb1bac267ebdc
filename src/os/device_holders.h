#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/pid.h"
#include "base/text.h"
#include "base/units.h"

namespace gpuward::os {

/// Who has a device file open or mapped, seen from /proc: a witness that does not ask the driver.
/// Having one open is not the same as using the card.
struct DeviceUse {
  ProcessId process;
  Pid thread;  ///< through which it was seen: another than the leader where that is a zombie
  Text<64> device;
  bool mapped = false;  ///< in no descriptor, but mapped: it was closed after mmap(2)
  char state = '?';     ///< of that thread, as in /proc
  bool leader_is_zombie = false;
  Text<40> wchan;  ///< where in the kernel it waits; empty: nowhere, or not told
  Text<32> name;   ///< comm of that thread
};

/// Looks through processes for device files whose path begins with a prefix. It remembers who had
/// none, so that a look costs one stat file per old process and the folders of new ones only:
/// whoever opens a device later is found when it is asked about by name, or by forget(). One
/// thread.
class DeviceHolders {
 public:
  static constexpr std::size_t kMostDescriptors = 4096;  // looked at of a thread
  static constexpr std::size_t kMostThreads = 256;       // looked at of a process
  static constexpr std::size_t kMostFound = 1024;        // by one look
  static constexpr std::size_t kMostRemembered = 1 << 16;

  /// @param prefix  "/dev/nvidia"
  explicit DeviceHolders(std::string prefix) : prefix_(std::move(prefix)) {}

  /// All uses by @p pids, whatever is remembered of them: those that something speaks against.
  /// A process that cannot be read (another user's) is counted in unreadable().
  std::vector<DeviceUse> of(std::span<const Pid> pids);

  /// All uses by processes that are new since the last look, had a use then, or have a zombie for a
  /// leader, at most kMostFound. Stops at @p deadline and goes on there at the next call; done()
  /// tells.
  std::vector<DeviceUse> look(Instant deadline);
  bool done() const { return resume_after_ == Pid{}; }

  /// The next look() asks everybody again.
  void forget() { without_.clear(), resume_after_ = {}; }
  /// Processes that the last call could not look into.
  std::size_t unreadable() const { return unreadable_; }

 private:
  void examine(Pid pid, std::vector<DeviceUse>& found);
  bool look_through_thread(Pid pid, Pid thread, DeviceUse& use, std::vector<DeviceUse>& found);
  void look_through_maps(Pid pid, DeviceUse& use, std::vector<DeviceUse>& found);

  std::string prefix_;
  std::map<Pid, std::uint64_t> without_;  // start time of those that had none
  Pid resume_after_;
  std::size_t unreadable_ = 0;
};

/// The path of a line of /proc/PID/maps that begins with @p prefix; empty when there is none.
std::string_view mapped_device(std::string_view line, std::string_view prefix);

}  // namespace gpuward::os
