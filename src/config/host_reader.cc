#include "config/host_reader.h"

#include <array>

#include "config/keys.h"
#include "config/table_reader.h"

namespace gpuward::config {
namespace {

constexpr auto kKeys = std::to_array<Key>({{"kernel_log", {}}});

// true: where the kernel gives it.
void read_kernel_log(const Node& node, TableReader& reader, std::string& path) {
  constexpr const char* kExpected =
      R"(true, false, or the absolute path of a device, a file or a FIFO)";
  if (node.kind == Kind::boolean) {
    path = node.truth ? HostPolicy{}.kernel_log : "";
    return;
  }
  if (node.kind != Kind::string) return reader.wrong_type(node, "host.kernel_log", kExpected);
  constexpr std::size_t kLongestPath = 4096;
  const bool good = node.text.starts_with('/') && node.text.size() < kLongestPath &&
                    node.text.find('\0') == std::string::npos;
  if (!good)
    return reader.add(node.place, "'host.kernel_log' is no path: " + in_quotes(node.text),
                      kExpected);
  path = node.text;
}

}  // namespace

void read_host(const Entry& host, Report& report, Origin& origin, HostPolicy& policy) {
  origin.name = host.place;
  TableReader reader(host.value, report, origin);
  if (host.value.kind != Kind::table)
    return reader.wrong_type(host.value, "host", "a table: [host]");
  for (const Entry& entry : host.value.entries)
    if (accept_key(entry, kKeys, "host", report))
      origin.keys["host." + entry.key] = entry.value.place;
  if (const Entry* log = host.value.find("kernel_log"))
    read_kernel_log(log->value, reader, policy.kernel_log);
}

}  // namespace gpuward::config
