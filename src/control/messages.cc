#include "control/messages.h"

namespace gpuward {

void pack(ProcessId id, std::span<char, kPackedMember> into) {
  const auto number = static_cast<std::uint32_t>(id.pid.number);
  for (std::size_t n = 0; n < 4; ++n) into[n] = static_cast<char>(number >> (8 * n));
  for (std::size_t n = 0; n < 8; ++n) into[4 + n] = static_cast<char>(id.start_ticks >> (8 * n));
}

std::vector<ProcessId> unpack(std::string_view members) {
  std::vector<ProcessId> list;
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(members[at]); };
  for (; members.size() >= kPackedMember; members.remove_prefix(kPackedMember)) {
    ProcessId id;
    std::uint32_t number = 0;
    for (std::size_t n = 4; n-- > 0;) number = number << 8 | byte(n);
    for (std::size_t n = 8; n-- > 0;) id.start_ticks = id.start_ticks << 8 | byte(4 + n);
    id.pid.number = static_cast<pid_t>(number);
    if (id) list.push_back(id);
  }
  return list;
}

}  // namespace gpuward
