#include "os/clock.h"

#include <limits>

#include "os/fd.h"

namespace gpuward::os {

Result<BootId> boot_id() {
  auto root = Fd::open("/proc/sys/kernel/random", O_PATH | O_DIRECTORY);
  if (!root) return fail(std::move(root).error());
  std::array<char, 64> buffer{};
  auto text = read_small_at(*root, "boot_id", buffer);
  if (!text) return fail(std::move(text).error());
  return BootId(text->substr(0, text->find('\n')));
}

int poll_timeout(Instant deadline) {
  if (deadline == kNever) return -1;
  const auto left = deadline - now();
  if (left <= Duration::zero()) return 0;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return ms > std::numeric_limits<int>::max() ? std::numeric_limits<int>::max()
                                              : static_cast<int>(ms);
}

}  // namespace gpuward::os
