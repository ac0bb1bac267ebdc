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
  reader.path_or_switch(ledger.value, "ledger", "syslog", kLongestPath, LedgerPolicy{}.syslog,
                        "true, false, or the absolute path of a syslog socket", policy.syslog);
}

}  // namespace gpuward::config
