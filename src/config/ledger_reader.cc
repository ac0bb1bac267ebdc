#include "config/ledger_reader.h"

#include <array>
#include <chrono>

#include "config/keys.h"
#include "config/table_reader.h"

namespace gpuward::config {
namespace {

using namespace std::chrono_literals;

constexpr auto kKeys = std::to_array<Key>({{"keep", {}}, {"syslog", {}}});
// Not less than half a year: an incident is often asked about only months later.
constexpr Range kKeep{180 * 24h, 36'500 * 24h, "180d to 36500d"};
constexpr std::size_t kLongestPath = 107;  // of a Unix socket (unix(7))

// true: where syslog usually listens.
void read_syslog(const Node& node, TableReader& reader, std::string& syslog) {
  constexpr const char* kExpected = R"(true, false, or the absolute path of a syslog socket)";
  if (node.kind == Kind::boolean) {
    syslog = node.truth ? LedgerPolicy{}.syslog : "";
    return;
  }
  if (node.kind != Kind::string) return reader.wrong_type(node, "ledger.syslog", kExpected);
  const bool good = node.text.starts_with('/') && node.text.size() <= kLongestPath &&
                    node.text.find('\0') == std::string::npos;
  if (!good)
    return reader.add(node.place, "'ledger.syslog' is no path: " + in_quotes(node.text), kExpected);
  syslog = node.text;
}

}  // namespace

void read_ledger(const Entry& ledger, Report& report, Origin& origin, LedgerPolicy& policy) {
  origin.name = ledger.place;
  TableReader reader(ledger.value, report, origin);
  if (ledger.value.kind != Kind::table)
    return reader.wrong_type(ledger.value, "ledger", "a table: [ledger]");
  for (const Entry& entry : ledger.value.entries)
    if (accept_key(entry, kKeys, "ledger", report))
      origin.keys["ledger." + entry.key] = entry.value.place;
  reader.duration(ledger.value, "ledger", "keep", kKeep, policy.keep);
  if (const Entry* syslog = ledger.value.find("syslog"))
    read_syslog(syslog->value, reader, policy.syslog);
}

}  // namespace gpuward::config
