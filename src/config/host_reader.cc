#include "config/host_reader.h"

#include <array>

#include "config/keys.h"
#include "config/readiness.h"
#include "config/table_reader.h"

namespace gpuward::config {
namespace {

constexpr auto kKeys = std::to_array<Key>({{"kernel_log", {}}, {"metrics", {}}});
constexpr std::size_t kLongestPath = 4095;  // PATH_MAX of Linux, less its NUL

// false: nowhere.
void read_metrics(const Node& node, TableReader& reader, std::string& listen) {
  constexpr const char* kExpected = R"("127.0.0.1:9477", "[::1]:9477", "unix:/PATH" or false)";
  if (node.kind == Kind::boolean && !node.truth) {
    listen.clear();
    return;
  }
  if (node.kind != Kind::string) return reader.wrong_type(node, "host.metrics", kExpected);
  if (!is_for_this_machine(node.text))
    return reader.add(node.place,
                      "'host.metrics' is no place on this machine: " + in_quotes(node.text),
                      kExpected);
  if (!node.text.starts_with("unix:")) {
    const auto address = parse_tcp_target(node.text);
    if (!address)
      return reader.add(node.place, "'host.metrics': " + address.error().what,
                        address.error().expected);
    if (address->find("{port}") != std::string::npos)
      return reader.add(node.place, "'host.metrics' needs a port that others know", kExpected);
  }
  listen = node.text;
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
  reader.path_or_switch(host.value, "host", "kernel_log", kLongestPath, HostPolicy{}.kernel_log,
                        "true, false, or the absolute path of a device, a file or a FIFO",
                        policy.kernel_log);
  if (const Entry* metrics = host.value.find("metrics"))
    read_metrics(metrics->value, reader, policy.metrics);
}

}  // namespace gpuward::config
