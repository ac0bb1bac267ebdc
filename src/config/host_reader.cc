#include "config/host_reader.h"

#include <array>

#include "config/keys.h"
#include "config/table_reader.h"

namespace gpuward::config {
namespace {

constexpr auto kKeys = std::to_array<Key>({{"kernel_log", {}}});
constexpr std::size_t kLongestPath = 4095;  // PATH_MAX of Linux, less its NUL

}  // namespace

void read_host(const Entry& host, Report& report, Origin& origin, HostPolicy& policy) {
  origin.name = host.place;
  TableReader reader(host.value, report, origin);
  if (host.value.kind != Kind::table)
    return reader.wrong_type(host.value, "host", "a table: [host]");
  for (const Entry& entry : host.value.entries)
    if (accept_key(entry, kKeys, "host", report))
      origin.keys["host." + entry.key] = entry.value.place;
  reader.path_or_switch(host.value, "host", "kernel_log", kLongestPath, HostPolicy{}.kernel_log,
                        "true, false, or the absolute path of a device, a file or a FIFO",
                        policy.kernel_log);
}

}  // namespace gpuward::config
