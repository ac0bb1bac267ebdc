#include "config/keys.h"

#include <algorithm>
#include <array>
#include <vector>

namespace gpuward::config {
namespace {

constexpr std::string_view kGateway = "the gateway";
constexpr std::string_view kScheduler = "the scheduler";

constexpr std::array kServiceKeys = std::to_array<Key>({
    {"command", {}},
    {"directory", {}},
    {"env", {}},
    {"env_file", {}},
    {"venv", {}},
    {"ready", {}},
    {"live", {}},
    {"canary", {}},
    {"stop", {}},
    {"restart", {}},
    {"backoff", {}},
    {"log", {}},
    {"user", {}},
    {"groups", {}},
    {"umask", {}},
    {"limits", {}},
    {"caps", {}},
    {"no_new_privs", {}},
    {"oom_score_adj", {}},
    {"nice", {}},
    {"cpu_weight", {}},
    {"memory_max", {}},
    {"private_tmp", {}},
    {"containment", {}},
    {"on_anchor_death", {}},
    {"pid_file", {}},
    {"release", {}},
    {"heal", {}},
    {"heal_budget", {}},
    {"hooks", {}},
    {"autostart", {}},
    {"after", {}},
    {"requires", {}},
    {"kind", kScheduler},
    {"every", kScheduler},
    {"protocol", {}},
    {"listen", {}},
    {"client", {}},
    {"tls", kGateway},
    {"auth", kGateway},
    {"replicas", kScheduler},
    {"min", kScheduler},
    {"max", kScheduler},
    {"gpu", kScheduler},
    {"cpu", kScheduler},
    {"profile", kScheduler},
    {"allow_tf32", kScheduler},
    {"strict_results", kScheduler},
    {"idle_holder", {}},
    {"reap", {}},
    {"queue", {}},
    {"on_client_gone", {}},
    {"idle_stop", kGateway},
    {"unload", kScheduler},
    {"idle_park", kScheduler},
    {"pausable", kScheduler},
});
constexpr std::array kReadyKeys =
    std::to_array<Key>({{"http", {}}, {"tcp", {}}, {"notify", {}}, {"log", {}}, {"within", {}}});
constexpr std::array kLiveKeys =
    std::to_array<Key>({{"http", {}}, {"notify", {}}, {"every", {}}, {"failures", {}}});
constexpr std::array kCanaryKeys = std::to_array<Key>({{"http", {}},
                                                       {"method", {}},
                                                       {"body", {}},
                                                       {"type", {}},
                                                       {"every", {}},
                                                       {"within", {}},
                                                       {"status", {}},
                                                       {"answer", {}},
                                                       {"ignore", {}},
                                                       {"tolerance", {}}});
constexpr std::array kLogKeys =
    std::to_array<Key>({{"size", {}}, {"age", {}}, {"total", {}}, {"rate", {}}, {"times", {}}});
constexpr std::array kLimitKeys = std::to_array<Key>({{"core", {}},
                                                      {"nofile", {}},
                                                      {"nproc", {}},
                                                      {"memlock", {}},
                                                      {"stack", {}},
                                                      {"as", {}},
                                                      {"fsize", {}},
                                                      {"data", {}},
                                                      {"cpu", {}}});
constexpr std::array kTempKeys = std::to_array<Key>({{"max_age", {}}});
constexpr std::array kStopKeys = std::to_array<Key>({{"grace", {}}, {"drain", {}}});
constexpr std::array kBackoffKeys = std::to_array<Key>({{"first", {}}, {"max", {}}, {"reset", {}}});
constexpr std::array kQueueKeys = std::to_array<Key>({{"max", {}},
                                                      {"bytes", {}},
                                                      {"per_caller", {}},
                                                      {"deadline", {}},
                                                      {"classes", {}},
                                                      {"usual", {}},
                                                      {"job_limit", {}}});
constexpr std::array kClientKeys = std::to_array<Key>(
    {{"half_close", {}}, {"lost_after", {}}, {"patience", {}}, {"largest_body", {}}});
constexpr std::array<std::string_view, 10> kTables = {"ready", "live",   "stop",        "backoff",
                                                      "log",   "limits", "private_tmp", "canary",
                                                      "queue", "client"};

constexpr std::size_t kLongestWord = 64;  // nothing longer is compared: the cost is a product

std::vector<std::string_view> names(std::span<const Key> keys) {
  std::vector<std::string_view> out;
  for (const Key& key : keys) out.push_back(key.name);
  return out;
}

std::string full_name(std::string_view table, std::string_view key) {
  return table.empty() ? std::string(key) : std::string(table) + "." + std::string(key);
}

// Where an unknown key would be known: `grace` below a service is probably `stop.grace`.
std::string better_place(std::string_view key, std::string_view table) {
  for (const std::string_view other : kTables)
    if (other != table && table.empty() &&
        std::ranges::find(keys_below(other), key, &Key::name) != keys_below(other).end())
      return full_name(other, key);
  return {};
}

std::string supported_list(std::span<const Key> keys) {
  std::string list;
  for (const Key& key : keys)
    if (key.later.empty()) list += (list.empty() ? "" : ", ") + std::string(key.name);
  return "one of " + list;
}

}  // namespace

std::span<const Key> service_keys() {
  return kServiceKeys;
}

std::span<const Key> keys_below(std::string_view table) {
  if (table == "ready") return kReadyKeys;
  if (table == "live") return kLiveKeys;
  if (table == "canary") return kCanaryKeys;
  if (table == "queue") return kQueueKeys;
  if (table == "client") return kClientKeys;
  if (table == "log") return kLogKeys;
  if (table == "limits") return kLimitKeys;
  if (table == "private_tmp") return kTempKeys;
  if (table == "stop") return kStopKeys;
  if (table == "backoff") return kBackoffKeys;
  return {};
}

bool accept_key(const Entry& entry, std::span<const Key> keys, std::string_view table,
                Report& report) {
  const std::string name = full_name(table, entry.key);
  const auto known = std::ranges::find(keys, std::string_view(entry.key), &Key::name);
  if (known != keys.end() && known->later.empty()) return true;
  if (known != keys.end()) {
    report.add(entry.place, in_quotes(name) + " is not supported yet: it comes with " +
                                std::string(known->later));
    return false;
  }
  std::string better = better_place(entry.key, table);
  if (better.empty())
    if (auto near = nearest(entry.key, names(keys)); !near.empty()) better = full_name(table, near);
  if (better.empty())
    report.add(entry.place, "unknown key " + in_quotes(name), supported_list(keys));
  else
    report.add(entry.place, "unknown key " + in_quotes(name) + "; did you mean '" + better + "'?");
  return false;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);  // two rows above, for swaps
  std::vector<std::size_t> above(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = a[i - 1] == b[j - 1];
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

bool is_near(std::string_view word, std::string_view known) {
  if (word.empty() || word.size() > kLongestWord) return false;
  std::string lower(word);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c == '-' ? '_' : c;
  });
  return edit_distance(lower, known) <= std::min<std::size_t>(3, (known.size() + 2) / 4);
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> known) {
  std::string_view best;
  std::size_t least = kLongestWord;
  for (const std::string_view candidate : known) {
    if (!is_near(word, candidate)) continue;
    const std::size_t distance = edit_distance(word, candidate);
    if (distance >= least) continue;
    least = distance;
    best = candidate;
  }
  return best;
}

}  // namespace gpuward::config
