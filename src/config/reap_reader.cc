#include "config/reap_reader.h"

#include <array>
#include <chrono>

#include "config/keys.h"
#include "config/table_reader.h"

namespace gpuward::config {
namespace {

using namespace std::chrono_literals;

constexpr auto kKeys = std::to_array<Key>({{"strangers", {}}});
constexpr auto kRuleKeys =
    std::to_array<Key>({{"user", {}}, {"command", {}}, {"cgroup", {}}, {"idle", {}}});
constexpr const char* kRules =
    R"(a list of rules: [{ user = "alice", command = "*jupyter*", idle = "1h" }])";
constexpr std::size_t kLongestPattern = 500;
constexpr Range kIdle{0ms, 30 * 24h, "0s to 30d"};
constexpr Range kIdleHolder{1s, 30 * 24h, "1s to 30d, or \"off\""};

void read_pattern(const Entry& entry, TableReader& reader, std::string& into) {
  const std::string* text = reader.string(entry.value, "strangers." + entry.key);
  if (text == nullptr) return;
  const bool all = text->find_first_not_of("*?") == text->npos;
  if (all || text->size() > kLongestPattern)
    return reader.add(entry.value.place,
                      "the pattern of " + in_quotes(entry.key) +
                          (all ? " names every process" : " is longer than 500 bytes"),
                      "a pattern with * and ? that names something");
  into = *text;
}

void read_rule(const Node& node, Report& report, std::vector<StrangerRule>& rules) {
  Origin ignored;
  TableReader reader(node, report, ignored);
  if (node.kind != Kind::table) return reader.wrong_type(node, "strangers", kRules);
  const std::size_t before = report.size();
  StrangerRule rule;
  for (const Entry& entry : node.entries) {
    if (!accept_key(entry, kRuleKeys, "strangers", report)) continue;
    if (entry.key == "command") read_pattern(entry, reader, rule.command);
    if (entry.key == "cgroup") read_pattern(entry, reader, rule.cgroup);
  }
  if (const std::string* user = reader.word("user", "the name of a user, or a number"))
    rule.user = *user;
  reader.duration(node, "strangers", "idle", kIdle, rule.idle);
  if (report.size() != before) return;
  if (rule.command.empty() && rule.cgroup.empty())
    return report.add(node.place, "a rule of 'strangers' names nothing that a process runs",
                      "'command' or 'cgroup' beside it");
  if (rules.size() == kMostStrangerRules)
    return report.add(node.place, "'strangers' has more rules than are kept",
                      std::to_string(kMostStrangerRules) + " at most");
  rules.push_back(std::move(rule));
}

}  // namespace

void read_reap(const Entry& reap, Report& report, std::vector<StrangerRule>& rules) {
  Origin ignored;
  TableReader reader(reap.value, report, ignored);
  if (reap.value.kind != Kind::table)
    return reader.wrong_type(reap.value, "reap", "a table: [reap]");
  for (const Entry& entry : reap.value.entries) {
    if (!accept_key(entry, kKeys, "reap", report)) continue;
    if (entry.value.kind != Kind::array) {
      reader.wrong_type(entry.value, "reap.strangers", kRules);
      continue;
    }
    for (const Node& item : entry.value.items) read_rule(item, report, rules);
  }
}

void read_holding(TableReader& service, ServiceModel& model) {
  if (const Entry* entry = service.find("idle_holder")) {
    const bool off = entry->value.kind == Kind::string && entry->value.text == "off";
    std::chrono::milliseconds limit{};
    if (off)
      model.idle_holder.reset();
    else if (service.duration(service.table(), "", "idle_holder", kIdleHolder, limit))
      model.idle_holder = limit;
  }
  const Entry* entry = service.find("reap");
  if (entry == nullptr) return;
  const std::string* text = service.string(entry->value, "reap");
  if (text == nullptr || *text == "report") return;
  if (*text == "act")
    return service.add(entry->value.place,
                       "'reap = \"act\"' needs the gateway, which is not built yet: without it "
                       "nobody knows which job a process was born in",
                       R"("report"; by hand: gpuward reap PID)");
  service.add(entry->value.place, "'reap' does not know " + in_quotes(*text), R"("report")");
}

}  // namespace gpuward::config
