#include "config/rights_reader.h"

#include <charconv>
#include <cstdint>
#include <optional>

namespace gpuward::config {
namespace {

void read_umask(TableReader& service, std::optional<std::uint32_t>& umask) {
  const Entry* entry = service.find("umask");
  if (entry == nullptr) return;
  const std::string expected = R"(octal digits as a string: "0027")";
  const std::string* text = service.string(entry->value, "umask");
  if (text == nullptr) return;
  std::uint32_t value = 0;
  const auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), value, 8);
  if (code != std::errc{} || end != text->data() + text->size() || value > 0777)
    return service.add(entry->value.place, "'umask' is none: " + in_quotes(*text), expected);
  umask = value;
}

std::optional<std::uint64_t> limit_value(LimitKind kind, const Node& node) {
  if (node.kind == Kind::string && node.text == "unlimited") return kUnlimited;
  if (is_in_bytes(kind)) {
    if (node.kind == Kind::integer && node.text == "0") return 0;
    const auto size = node.kind == Kind::string ? parse_bytes(node.text) : std::nullopt;
    return size ? std::optional(size->count) : std::nullopt;
  }
  std::uint64_t value = 0;
  const std::string& text = node.text;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = code == std::errc{} && end == text.data() + text.size();
  return node.kind == Kind::integer && whole ? std::optional(value) : std::nullopt;
}

void read_limits(TableReader& service, std::vector<Limit>& limits) {
  const Node* table =
      service.subtable("limits", R"(a table: { nofile = 65536, memlock = "unlimited" })");
  if (table == nullptr) return;
  for (const Entry& entry : table->entries) {
    const auto kind = parse_limit_kind(entry.key);
    if (!kind) continue;  // said already
    const auto value = limit_value(*kind, entry.value);
    if (value)
      limits.push_back({*kind, *value});
    else
      service.add(entry.value.place, in_quotes("limits." + entry.key) + " is no limit",
                  is_in_bytes(*kind) ? R"(a size such as "64MiB", 0 or "unlimited")"
                                     : R"(a number, or "unlimited")");
  }
}

void read_capabilities(TableReader& service, std::optional<std::uint64_t>& capabilities) {
  if (service.find("caps") == nullptr) return;
  std::uint64_t kept = 0;
  service.words("caps", R"(a list of capabilities to keep: ["net_bind_service"])",
                [&](const Node& node, const std::string& name) {
                  if (const auto number = parse_capability(name))
                    kept |= std::uint64_t{1} << *number;
                  else
                    service.add(node.place, "unknown capability " + in_quotes(name),
                                "a name of capabilities(7), as \"net_bind_service\"");
                });
  capabilities = kept;
}

}  // namespace

void read_rights(TableReader& service, Rights& rights) {
  if (const auto* user = service.word("user", R"("name", "1000" or "1000:1000")"))
    rights.user = *user;
  service.words("groups", R"(a list of names or numbers: ["video", "render"])",
                [&](const Node&, const std::string& group) { rights.groups.push_back(group); });
  if (!rights.groups.empty() && rights.user.empty())
    service.add(service.origin().of("groups"), "'groups' has no 'user' to belong to",
                "user = \"name\" beside it");
  read_umask(service, rights.umask);
  read_limits(service, rights.limits);
  read_capabilities(service, rights.capabilities);
  service.truth("no_new_privs", rights.no_new_privileges);
  rights.oom_score_adj = service.whole_number("oom_score_adj", -1000, 1000);
  rights.nice = service.whole_number("nice", -20, 19);
}

void read_tree_limits(TableReader& service, TreeLimits& limits) {
  if (const auto weight = service.whole_number("cpu_weight", 1, 10'000))
    limits.cpu_weight = static_cast<std::uint32_t>(*weight);
  service.bytes(service.table(), {}, "memory_max", {4_MiB, 65'536_GiB, "4MiB to 64TiB"},
                limits.memory_max);
}

}  // namespace gpuward::config
