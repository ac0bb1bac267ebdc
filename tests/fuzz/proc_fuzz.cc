// Small texts that others write: a stat file of /proc, an address, a size, a duration.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/units.h"
#include "os/connections.h"
#include "os/container.h"
#include "os/device_holders.h"
#include "os/proc_fs.h"
#include "os/socket.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gpuward;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)os::parse_stat(text);
  (void)os::parse_storage_bytes(text);
  if (const auto device = os::mapped_device(text, "/dev/nvidia");
      !device.empty() && !device.starts_with("/dev/nvidia"))
    std::abort();
  if (auto pid = os::parse_pid(text); pid && !*pid) std::abort();
  if (auto address = os::parse_tcp_address(text)) {
    if (address->port() == 0 || address->length == 0) std::abort();
    if (text.find('\0') != std::string_view::npos) std::abort();
  }
  if (const auto id = os::container_id_in(text); !id.empty())
    if (id.size() != 64 || !os::find_container(text, id)) std::abort();
  std::map<std::uint16_t, os::Connections> found = {{7860, {}}};
  os::parse_connections(text, 8, found);
  if (found.size() != 1 || found[7860].list.size() > 8) std::abort();
  for (const auto& one : found[7860].list)
    if (one.port != 7860) std::abort();
  if (auto bytes = parse_bytes(text); bytes && to_string(*bytes).empty()) std::abort();
  if (auto duration = parse_duration(text)) {
    // It is added to the clock and printed.
    if (duration->count() < 0 || to_string(*duration).empty()) std::abort();
  }
  return 0;
}
