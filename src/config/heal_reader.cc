#include "config/heal_reader.h"

#include <algorithm>
#include <charconv>

#include "config/keys.h"
#include "domain/hook.h"

namespace gpuward::config {
namespace {

constexpr std::string_view kLogLines = "log_lines";
constexpr std::size_t kLongestHook = 4096;  // bytes of all words
constexpr const char* kHookTable = R"(a table: { failed = ["program", "argument", ...] })";
constexpr const char* kCommand = R"(a list of words: ["/usr/local/bin/tell", "argument"])";

void read_mode(TableReader& service, HealMode& mode) {
  const Entry* entry = service.find("heal");
  if (entry == nullptr) return;
  const std::string expected = R"("observe" or "act")";
  if (entry->value.kind != Kind::string) return service.wrong_type(entry->value, "heal", expected);
  if (entry->value.text == "act")
    mode = HealMode::act;
  else if (entry->value.text == "observe")
    mode = HealMode::observe;
  else
    service.add(entry->value.place, "'heal' does not know " + in_quotes(entry->value.text),
                expected);
}

void read_log_lines(TableReader& service, const Node& node, std::uint32_t& lines) {
  std::uint32_t value = 0;
  const std::string& text = node.text;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = code == std::errc{} && end == text.data() + text.size();
  if (node.kind == Kind::integer && whole && value <= kMostHookLogLines)
    lines = value;
  else
    service.add(node.place, "'hooks.log_lines' is no such number",
                "0 to " + std::to_string(kMostHookLogLines));
}

// What is started has the folder of nobody in particular, so a program is named in full or found.
std::string_view fault_of(const std::vector<std::string>& command) {
  if (command.empty() || command.front().empty()) return "is empty";
  const std::string& program = command.front();
  if (program.find('/') != program.npos && !program.starts_with('/'))
    return "begins with a relative path";
  if (program.starts_with('~') || program.starts_with('$'))
    return "begins with '~' or '$', which are not expanded";
  std::size_t bytes = 0;
  for (const auto& word : command) bytes += word.size() + 1;
  return bytes > kLongestHook ? "is longer than 4096 bytes" : "";
}

void read_command(TableReader& service, const Entry& entry, ServiceModel& model) {
  const std::string key = "hooks." + entry.key;
  if (entry.value.kind != Kind::array) return service.wrong_type(entry.value, key, kCommand);
  Hook hook;
  hook.event = entry.key;
  for (const Node& item : entry.value.items) {
    const std::string* word = service.string(item, key);
    if (word == nullptr) return;
    hook.command.push_back(*word);
  }
  if (const auto fault = fault_of(hook.command); !fault.empty())
    return service.add(entry.value.place, in_quotes(key) + " " + std::string(fault), kCommand);
  if (model.hooks.size() == kMostHooks)
    return service.add(entry.place, "'hooks' has more than " + std::to_string(kMostHooks));
  model.hooks.push_back(std::move(hook));
}

void read_hooks(TableReader& service, ServiceModel& model) {
  const Entry* table = service.find("hooks");
  if (table == nullptr) return;
  if (table->value.kind != Kind::table)
    return service.wrong_type(table->value, "hooks", kHookTable);
  const auto known = hook_names();
  for (const Entry& entry : table->value.entries) {
    if (entry.key == kLogLines) {
      read_log_lines(service, entry.value, model.hook_log_lines);
    } else if (std::ranges::find(known, std::string_view(entry.key)) != known.end()) {
      read_command(service, entry, model);
    } else if (const auto near = nearest(entry.key, known); !near.empty()) {
      service.add(entry.place, "'hooks' knows no event " + in_quotes(entry.key) +
                                   "; did you mean '" + std::string(near) + "'?");
    } else {
      service.add(entry.place, "'hooks' knows no event " + in_quotes(entry.key),
                  "an event of `gpuward events`, as 'failed', or a verdict, as 'UNKILLABLE'");
    }
  }
}

}  // namespace

void read_heal(TableReader& service, ServiceModel& model) {
  read_mode(service, model.heal);
  if (const auto budget = service.whole_number("heal_budget", 0, static_cast<int>(kMostHealBudget)))
    model.heal_budget = static_cast<std::uint32_t>(*budget);
  read_hooks(service, model);
}

}  // namespace gpuward::config
