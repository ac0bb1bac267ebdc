#include "config/service_reader.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <initializer_list>
#include <optional>

#include "base/units.h"
#include "config/env_file.h"
#include "config/keys.h"
#include "config/readiness.h"

namespace gpuward::config {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr std::string_view kPort = "{port}";
constexpr std::string_view kTimes =
    R"(a time such as "10s", "5m" or "1h30m" (units ms, s, m, h, d))";
constexpr std::size_t kLongestString = 131'071;  // MAX_ARG_STRLEN of Linux, less its NUL
// Command and environment travel and are kept in one record of at most 64 KiB.
constexpr std::size_t kLargestStart = std::size_t{48} * 1024;

/// What a duration may be; the texts are for people.
struct Range {
  milliseconds low;
  milliseconds high;
  std::string_view text;
};
constexpr Range kWait{1ms, 24h, "1ms to 24h"};
constexpr Range kWaitOrZero{0ms, 24h, "0s to 24h"};
constexpr Range kPause{10ms, 24h, "10ms to 24h"};
constexpr Range kLogAge{1h, 3650 * 24h, "1h to 3650d"};
constexpr Range kLiveEvery{100ms, 24h, "100ms to 24h"};
constexpr Range kReset{1ms, 30 * 24h, "1ms to 30d"};

std::string in_toml(std::string_view text) {
  return "\"" + std::string(text.substr(0, 80)) + "\"";
}

bool is_number(Kind kind) {
  return kind == Kind::integer || kind == Kind::real;
}

// "99999d" reads like a time and is none: too long. The same text with each number as 1 tells.
bool too_long(std::string_view text) {
  std::string ones;
  for (const char c : text) {
    const bool digit = c >= '0' && c <= '9';
    if (digit && ones.ends_with('1')) continue;
    ones += digit ? '1' : c;
  }
  return parse_duration(ones).has_value();
}

// Words in braces as {name}: not ${name}, which is a shell's, and not {{name}}, a template's.
struct Placeholder {
  std::string_view text;
  bool after_dollar;
};
std::vector<Placeholder> placeholders(std::string_view text) {
  const auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  std::vector<Placeholder> found;
  for (std::size_t open = text.find('{'); open != std::string_view::npos;
       open = text.find('{', open + 1)) {
    std::size_t end = open + 1;
    while (end < text.size() && is_word(text[end])) ++end;
    if (end == open + 1 || end == text.size() || text[end] != '}') continue;
    const char before = open > 0 ? text[open - 1] : ' ';
    const bool count = text[open + 1] >= '0' && text[open + 1] <= '9';  // a{3} in a pattern
    if (before == '{' || count) continue;
    found.push_back({text.substr(open, end + 1 - open), before == '$'});
  }
  return found;
}

class ServiceReader {
 public:
  ServiceReader(const Entry& service, Report& report, const Resolver& resolver)
      : table_(service.value), report_(report), resolver_(resolver) {
    draft_.model.name = service.key;
    draft_.origin.name = service.place;
  }

  Draft read() {
    const std::size_t before = report_.size();
    for (const Entry& entry : table_.entries)
      if (accept_key(entry, service_keys(), {}, report_))
        draft_.origin.keys[entry.key] = entry.value.place;
    // The directory comes first: other paths begin there.
    path("directory", resolver_.folder, model().directory);
    const std::string& base = model().directory.empty() ? resolver_.folder : model().directory;
    path("venv", base, model().venv);
    path("pid_file", base, model().pid_file);
    path("env_file", base, model().env_file);
    command();
    env_file();
    env();
    stop();
    restart();
    backoff();
    log();
    rights();
    autostart();
    ready();
    live();
    size();
    draft_.sound = report_.size() == before;
    return std::move(draft_);
  }

 private:
  ServiceModel& model() { return draft_.model; }

  void wrong_type(const Node& node, std::string_view key, std::string expected) {
    report_.add(node.place, in_quotes(key) + " is " + std::string(kind_name(node.kind)),
                std::move(expected));
  }

  // A string without a NUL byte that fits one argument, or a problem.
  const std::string* string(const Node& node, std::string_view key) {
    if (node.kind != Kind::string) {
      wrong_type(node, key, "a string" + (is_number(node.kind) ? ": " + in_toml(node.text) : ""));
      return nullptr;
    }
    if (node.text.find('\0') != std::string::npos) {
      report_.add(node.place, in_quotes(key) + " holds a NUL byte", "text");
      return nullptr;
    }
    if (node.text.size() > kLongestString) {
      report_.add(node.place, in_quotes(key) + " is longer than 131071 bytes");
      return nullptr;
    }
    return &node.text;
  }

  void path(std::string_view key, const std::string& base, std::string& into) {
    const Entry* entry = table_.find(key);
    if (entry == nullptr) return;
    const std::string* text = string(entry->value, key);
    if (text == nullptr) return;
    if (text->empty())
      return report_.add(entry->value.place, in_quotes(key) + " is empty", "a path");
    if (text->front() == '~' || text->front() == '$')
      return report_.add(
          entry->value.place,
          in_quotes(key) + " begins with '" + text->front() + "', which is not expanded",
          "a full path");
    std::string_view rest = *text;
    while (rest.starts_with("./")) rest.remove_prefix(2);
    if (rest.starts_with('/') || base.empty())
      into = rest.empty() ? "." : rest;
    else
      into = rest.empty() || rest == "." ? base : base + "/" + std::string(rest);
  }

  void command() {
    const Entry* entry = table_.find("command");
    if (entry == nullptr)
      return report_.add(draft_.origin.name,
                         "service " + in_quotes(model().name) + " has no 'command'",
                         R"(command = ["program", "argument", ...])");
    const Node& list = entry->value;
    if (list.kind == Kind::string) return command_as_text(list);
    if (list.kind != Kind::array) return wrong_type(list, "command", "a list of strings");
    if (list.items.empty())
      return report_.add(list.place, "'command' is empty", "at least the program");
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      const std::string name = "command[" + std::to_string(i) + "]";
      draft_.origin.keys[name] = list.items[i].place;
      const std::string* word = string(list.items[i], name);
      if (word == nullptr) {
        model().command.emplace_back();  // keeps the places of the others
        continue;
      }
      if (i == 0) first_word(list.items[i], *word);
      check_placeholders(list.items[i], *word);
      model().command.push_back(*word);
    }
  }

  void first_word(const Node& node, const std::string& word) {
    if (word.empty()) report_.add(node.place, "the first word of 'command' is empty", "a program");
    if (word.starts_with('~') || word.starts_with('$'))
      report_.add(node.place,
                  "the program begins with '" + word.substr(0, 1) + "', which is not expanded",
                  "a full path or a name to be found in PATH");
  }

  // No shell is involved, so one text is no command. Where it is plain words, they are shown as
  // such.
  void command_as_text(const Node& node) {
    std::string expected = "a list of words";
    const std::string_view text = node.text;
    const bool plain =
        text.size() <= 200 && text.find_first_of("'\"\\|&;<>()$`*?#~\n\t") == text.npos;
    if (plain && text.find_first_not_of(' ') != text.npos) {
      std::string words;
      for (std::size_t at = text.find_first_not_of(' '); at != text.npos;) {
        const std::size_t end = std::min(text.find(' ', at), text.size());
        words +=
            (words.empty() ? "" : ", ") + ("\"" + std::string(text.substr(at, end - at)) + "\"");
        at = text.find_first_not_of(' ', end);
      }
      expected += ": [" + words + "]";
    }
    wrong_type(node, "command", std::move(expected));
  }

  void check_placeholders(const Node& node, std::string_view text) {
    for (const Placeholder& found : placeholders(text)) {
      if (found.after_dollar) {
        if (found.text == kPort)
          report_.add(node.place, "'${port}' would become '$' and the port", "{port}");
        continue;
      }
      if (found.text == kPort) continue;
      const auto name = found.text.substr(1, found.text.size() - 2);
      misspelt_port_ |= is_near(name, "port");
      if (is_near(name, "port"))
        report_.add(node.place,
                    "unknown placeholder " + in_quotes(found.text) + "; did you mean '{port}'?");
      else
        report_.add(node.place, "unknown placeholder " + in_quotes(found.text),
                    "{port}, the only one; for a literal word in braces add a blank: \"{ " +
                        std::string(name.substr(0, 40)) + " }\"");
    }
  }

  void env_file() {
    if (model().env_file.empty()) return;
    const Place& place = draft_.origin.of("env_file");
    auto text = resolver_.read ? resolver_.read(model().env_file)
                               : fail(Errc::not_supported, "read 'env_file'");
    if (!text)
      return report_.add(place, "cannot read 'env_file': " + text.error().code.message(),
                         "a readable file at " + in_quotes(model().env_file));
    EnvFile file = parse_env_file(*text, model().env_file);
    model().env = std::move(file.variables);
    report_.add_elsewhere(std::move(file.problems));
  }

  void env() {
    const Entry* entry = table_.find("env");
    if (entry == nullptr) return;
    if (entry->value.kind != Kind::table)
      return wrong_type(entry->value, "env", R"(a table: { NAME = "value" })");
    for (const Entry& variable : entry->value.entries) {
      const std::string name = "env." + variable.key;
      if (const auto fault = env_name_fault(variable.key); !fault.empty()) {
        report_.add(variable.place, std::string(fault), R"(NAME = "value")");
        continue;
      }
      const std::string* value = string(variable.value, name);
      if (value == nullptr) continue;
      check_placeholders(variable.value, *value);
      draft_.origin.keys[name] = variable.value.place;
      set_variable(model().env, {variable.key, *value});
    }
  }

  // The table at @p key with its keys checked, or null when it is absent or none.
  const Node* subtable(std::string_view key, std::string expected) {
    const Entry* entry = table_.find(key);
    if (entry == nullptr) return nullptr;
    if (entry->value.kind != Kind::table) {
      wrong_type(entry->value, key, std::move(expected));
      return nullptr;
    }
    for (const Entry& inner : entry->value.entries)
      if (accept_key(inner, keys_below(key), key, report_))
        draft_.origin.keys[std::string(key) + "." + inner.key] = inner.value.place;
    return &entry->value;
  }

  // Reads @p table's @p key, if written, into @p into; says false when there was something wrong.
  bool duration(const Node& table, std::string_view table_name, std::string_view key,
                const Range& range, milliseconds& into) {
    const Entry* entry = table.find(key);
    if (entry == nullptr) return true;
    const Node& node = entry->value;
    const std::string name = in_quotes(std::string(table_name) + "." + std::string(key));
    const auto say = [&](std::string what, std::string expected) {
      report_.add(node.place, std::move(what), std::move(expected));
      return false;
    };
    const bool number = is_number(node.kind);
    if (!number && node.kind != Kind::string)
      return say(name + " is " + std::string(kind_name(node.kind)), std::string(kTimes));
    const std::string& text = node.text;
    if (text.starts_with('-')) return say(name + " is negative", std::string(kTimes));
    if (number || parse_duration(text + "s")) {
      const bool plain = text.find_first_not_of("0123456789.") == std::string::npos;
      if (plain) return say(name + " has no unit", in_toml(text + "s"));
      if (number) return say(name + " is a number", std::string(kTimes));
    }
    if (const auto value = parse_duration(text)) {
      if (*value < range.low || *value > range.high)
        return say(name + " is out of range", std::string(range.text));
      into = *value;
      return true;
    }
    if (too_long(text)) return say(name + " is out of range", std::string(range.text));
    std::string tight;
    std::ranges::copy_if(text, std::back_inserter(tight), [](char c) { return c != ' '; });
    const bool only_blanks = parse_duration(tight).has_value();
    return say(name + " is no time: " + in_quotes(text),
               only_blanks ? in_toml(tight) : std::string(kTimes));
  }

  void stop() {
    const Node* table = subtable("stop", R"(a table: { grace = "10s", drain = "30s" })");
    if (table == nullptr) return;
    duration(*table, "stop", "grace", kWaitOrZero, model().grace);
    duration(*table, "stop", "drain", kWaitOrZero, model().drain);
  }

  void restart() {
    const Entry* entry = table_.find("restart");
    if (entry == nullptr) return;
    struct Named {
      std::string_view name;
      RestartPolicy policy;
    };
    static constexpr std::array<Named, 3> kPolicies = {{{"on-failure", RestartPolicy::on_failure},
                                                        {"always", RestartPolicy::always},
                                                        {"never", RestartPolicy::never}}};
    const std::string expected = R"("on-failure", "always" or "never")";
    if (entry->value.kind != Kind::string) return wrong_type(entry->value, "restart", expected);
    const auto found =
        std::ranges::find(kPolicies, std::string_view(entry->value.text), &Named::name);
    if (found == kPolicies.end())
      return report_.add(entry->value.place,
                         "'restart' does not know " + in_quotes(entry->value.text), expected);
    model().restart = found->policy;
  }

  void backoff() {
    const Node* table =
        subtable("backoff", R"(a table: { first = "1s", max = "60s", reset = "10m" })");
    if (table == nullptr) return;
    Backoff& backoff = model().backoff;
    const bool first = duration(*table, "backoff", "first", kPause, backoff.first);
    const bool max = duration(*table, "backoff", "max", kPause, backoff.max);
    duration(*table, "backoff", "reset", kReset, backoff.reset);
    if (!first || !max || backoff.first <= backoff.max) return;
    const bool at_max = table->find("max") != nullptr;
    report_.add(draft_.origin.of(at_max ? "backoff.max" : "backoff.first"),
                "'backoff.first' (" + to_string(backoff.first) +
                    ") is longer than 'backoff.max' (" + to_string(backoff.max) +
                    (at_max ? ")" : ", the default)"),
                "first <= max");
  }

  void log() {
    const Node* table =
        subtable("log", R"(a table: { size = "64MiB", age = "14d", total = "1GiB" })");
    if (table == nullptr) return;
    LogPolicy& log = model().log;
    bytes(*table, "size", {4_KiB, 1024_GiB, "4KiB to 1TiB"}, log.size);
    bytes(*table, "total", {4_KiB, 1024_GiB, "4KiB to 1TiB"}, log.total);
    bytes(*table, "rate", {1_KiB, 1024_GiB, "1KiB/s to 1TiB/s"}, log.rate, "/s");
    duration(*table, "log", "age", kLogAge, log.age);
    if (log.total.count >= log.size.count) return;
    const bool at_total = table->find("total") != nullptr;
    report_.add(draft_.origin.of(at_total ? "log.total" : "log.size"),
                "'log.total' (" + to_string(log.total) + ") is less than 'log.size' (" +
                    to_string(log.size) + ")",
                "size <= total");
  }

  struct Sizes {
    Bytes low;
    Bytes high;
    std::string_view text;
  };
  // Reads @p table's @p key below "log", if written, into @p into. @p after: what follows the size.
  void bytes(const Node& table, std::string_view key, const Sizes& range, Bytes& into,
             std::string_view after = {}) {
    const Entry* entry = table.find(key);
    if (entry == nullptr) return;
    const Node& node = entry->value;
    const std::string name = in_quotes("log." + std::string(key));
    const std::string expected =
        "a size such as \"64MiB" + std::string(after) + "\", " + std::string(range.text);
    if (node.kind != Kind::string)
      return report_.add(node.place, name + " is " + std::string(kind_name(node.kind)), expected);
    const bool ends = node.text.ends_with(after);
    const auto size =
        ends ? parse_bytes(std::string_view(node.text).substr(0, node.text.size() - after.size()))
             : std::nullopt;
    if (!size)
      return report_.add(node.place, name + " is no size: " + in_quotes(node.text), expected);
    if (size->count < range.low.count || size->count > range.high.count)
      return report_.add(node.place, name + " is out of range", std::string(range.text));
    into = *size;
  }

  // A string at @p key, not empty; null when it is absent or wrong.
  const std::string* word(std::string_view key, const std::string& expected) {
    const Entry* entry = table_.find(key);
    if (entry == nullptr) return nullptr;
    const std::string* text = string(entry->value, key);
    if (text != nullptr && !text->empty() && text->find_first_of(" \n") == text->npos) return text;
    if (text != nullptr)
      report_.add(entry->value.place, in_quotes(key) + " is no name: " + in_quotes(*text),
                  expected);
    return nullptr;
  }

  // The strings of the list at @p key.
  template <class Take>
  void words(std::string_view key, const std::string& expected, Take&& take) {
    const Entry* entry = table_.find(key);
    if (entry == nullptr) return;
    if (entry->value.kind != Kind::array) return wrong_type(entry->value, key, expected);
    for (const Node& item : entry->value.items)
      if (const std::string* text = string(item, key)) take(item, *text);
  }

  std::optional<int> whole_number(std::string_view key, int low, int high) {
    const Entry* entry = table_.find(key);
    if (entry == nullptr) return std::nullopt;
    int value = 0;
    const std::string& text = entry->value.text;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = code == std::errc{} && end == text.data() + text.size();
    if (entry->value.kind == Kind::integer && whole && value >= low && value <= high) return value;
    report_.add(entry->value.place, in_quotes(key) + " is no such number",
                std::to_string(low) + " to " + std::to_string(high));
    return std::nullopt;
  }

  void rights() {
    Rights& rights = model().rights;
    if (const auto* user = word("user", R"("name", "1000" or "1000:1000")")) rights.user = *user;
    words("groups", R"(a list of names or numbers: ["video", "render"])",
          [&](const Node&, const std::string& group) { rights.groups.push_back(group); });
    if (!rights.groups.empty() && rights.user.empty())
      report_.add(draft_.origin.of("groups"), "'groups' has no 'user' to belong to",
                  "user = \"name\" beside it");
    umask();
    limits();
    if (table_.find("caps") != nullptr) rights.capabilities = 0;
    words("caps", R"(a list of capabilities to keep: ["net_bind_service"])",
          [&](const Node& node, const std::string& name) {
            const auto number = parse_capability(name);
            if (number)
              *rights.capabilities |= std::uint64_t{1} << *number;
            else
              report_.add(node.place, "unknown capability " + in_quotes(name),
                          "a name of capabilities(7), as \"net_bind_service\"");
          });
    if (const Entry* entry = table_.find("no_new_privs")) {
      if (entry->value.kind == Kind::boolean)
        rights.no_new_privileges = entry->value.truth;
      else
        wrong_type(entry->value, "no_new_privs", "true or false");
    }
    rights.oom_score_adj = whole_number("oom_score_adj", -1000, 1000);
    rights.nice = whole_number("nice", -20, 19);
  }

  void umask() {
    const Entry* entry = table_.find("umask");
    if (entry == nullptr) return;
    const std::string expected = R"(octal digits as a string: "0027")";
    const std::string* text = string(entry->value, "umask");
    if (text == nullptr) return;
    std::uint32_t value = 0;
    const auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), value, 8);
    if (code != std::errc{} || end != text->data() + text->size() || value > 0777)
      return report_.add(entry->value.place, "'umask' is none: " + in_quotes(*text), expected);
    model().rights.umask = value;
  }

  void limits() {
    const Node* table = subtable("limits", R"(a table: { nofile = 65536, memlock = "unlimited" })");
    if (table == nullptr) return;
    for (const Entry& entry : table->entries) {
      const auto kind = parse_limit_kind(entry.key);
      if (!kind) continue;  // said already
      const auto value = limit_value(*kind, entry.value);
      if (value)
        model().rights.limits.push_back({*kind, *value});
      else
        report_.add(entry.value.place, in_quotes("limits." + entry.key) + " is no limit",
                    is_in_bytes(*kind) ? R"(a size such as "64MiB", 0 or "unlimited")"
                                       : R"(a number, or "unlimited")");
    }
  }

  static std::optional<std::uint64_t> limit_value(LimitKind kind, const Node& node) {
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

  void autostart() {
    const Entry* entry = table_.find("autostart");
    if (entry == nullptr) return;
    if (entry->value.kind != Kind::boolean)
      return wrong_type(entry->value, "autostart", "true or false");
    model().autostart = entry->value.truth;
  }

  void ready() {
    const Node* table = subtable("ready", R"(a table: { http = "/path", within = "60s" })");
    if (table == nullptr) return;
    duration(*table, "ready", "within", kWait, model().ready.within);
    const Entry* way = only_one_of(*table, "ready", {"http", "tcp", "notify", "log"});
    if (way == nullptr) return;
    if (way->key == "http") ready_http(way->value);
    if (way->key == "tcp") ready_tcp(way->value);
    if (way->key == "notify" && is_true(way->value, "ready.notify"))
      model().ready.kind = ReadyKind::notify;
    if (way->key == "log") ready_log(way->value);
  }

  void ready_log(const Node& node) {
    const std::string* text = string(node, "ready.log");
    if (text == nullptr) return;
    if (text->empty() || text->size() > kLongestReadyText || text->find('\n') != text->npos)
      return report_.add(node.place, "'ready.log' is no part of one line",
                         "1 to 200 bytes that the service prints when it is ready");
    model().ready.kind = ReadyKind::log;
    model().ready.text = *text;
  }

  void live() {
    const Node* table =
        subtable("live", R"(a table: { http = "/health", every = "10s", failures = 3 })");
    if (table == nullptr) return;
    Liveness& live = model().live;
    duration(*table, "live", "every", kLiveEvery, live.every);
    if (const Entry* failures = table->find("failures")) {
      const auto count = parse_count(failures->value, 1, 100);
      if (count)
        live.failures = *count;
      else
        report_.add(failures->value.place, "'live.failures' is no number of failures", "1 to 100");
    }
    const Entry* way = only_one_of(*table, "live", {"http", "notify"});
    if (way == nullptr) return;
    if (way->key == "notify") {
      if (const Entry* failures = table->find("failures"))
        report_.add(failures->place, "'live.failures' has no meaning with 'live.notify'",
                    "'every' alone: so long it may be silent");
      if (is_true(way->value, "live.notify")) live.kind = LiveKind::notify;
      return;
    }
    auto target = http_target(way->value, "live.http");
    if (!target) return;
    live.kind = LiveKind::http;
    live.address = std::move(target->address);
    live.path = std::move(target->path);
  }

  static std::optional<std::uint32_t> parse_count(const Node& node, std::uint32_t low,
                                                  std::uint32_t high) {
    std::uint32_t value = 0;
    const std::string& text = node.text;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = code == std::errc{} && end == text.data() + text.size();
    if (node.kind != Kind::integer || !whole || value < low || value > high) return std::nullopt;
    return value;
  }

  bool is_true(const Node& node, std::string_view key) {
    if (node.kind == Kind::boolean && node.truth) return true;
    report_.add(node.place,
                in_quotes(key) + " is " +
                    (node.kind == Kind::boolean ? "false" : std::string(kind_name(node.kind))),
                "true, or nothing");
    return false;
  }

  // The entry of @p table among @p ways, where not more than one may be; a problem where there are
  // more, or none and so nothing for the other keys to work on.
  const Entry* only_one_of(const Node& table, std::string_view name,
                           std::initializer_list<std::string_view> ways) {
    const Entry* first = nullptr;
    bool misspelt = false;
    for (const Entry& entry : table.entries) {
      const bool is_way = std::ranges::find(ways, entry.key) != ways.end();
      misspelt |= !is_way && !draft_.origin.keys.contains(std::string(name) + "." + entry.key);
      if (!is_way) continue;
      if (first != nullptr) {
        report_.add(std::max(first->place, entry.place, earlier),
                    in_quotes(std::string(name) + "." + first->key) + " and " +
                        in_quotes(std::string(name) + "." + entry.key) + " are both given",
                    "one of them");
        return nullptr;
      }
      first = &entry;
    }
    if (first != nullptr || misspelt || table.entries.empty()) return first;
    std::string list;
    for (const auto way : ways) list += (list.empty() ? "'" : " or '") + std::string(way) + "'";
    const Entry& other = table.entries.front();
    report_.add(other.place,
                in_quotes(std::string(name) + "." + other.key) + " has nothing to work on",
                list + " beside it");
    return nullptr;
  }

  static bool earlier(const Place& a, const Place& b) {
    return a.line != b.line ? a.line < b.line : a.column < b.column;
  }

  std::optional<Target> http_target(const Node& node, std::string_view key) {
    const std::string* text = string(node, key);
    if (text == nullptr) return std::nullopt;
    auto target = parse_http_target(*text);
    if (!target) {
      report_.add(node.place, in_quotes(key) + ": " + target.error().what, target.error().expected);
      return std::nullopt;
    }
    needs_port(node, target->address, R"("127.0.0.1:7860)" + target->path.substr(0, 80) + "\"",
               "\"" + target->path.substr(0, 80) + "\"");
    return std::move(*target);
  }

  void ready_http(const Node& node) {
    auto target = http_target(node, "ready.http");
    if (!target) return;
    model().ready.kind = ReadyKind::http;
    model().ready.address = std::move(target->address);
    model().ready.path = std::move(target->path);
  }

  void ready_tcp(const Node& node) {
    std::string address;
    if (node.kind == Kind::string) {
      auto target = parse_tcp_target(node.text);
      if (!target)
        return report_.add(node.place, "'ready.tcp': " + target.error().what,
                           target.error().expected);
      address = std::move(*target);
    } else if (node.kind != Kind::boolean || !node.truth) {
      const std::string is =
          node.kind == Kind::boolean ? "false" : std::string(kind_name(node.kind));
      return report_.add(node.place, "'ready.tcp' is " + is,
                         R"(true for {port}, or an address such as "127.0.0.1:7860")");
    }
    needs_port(node, address, R"("127.0.0.1:7860")", "true");
    model().ready.kind = ReadyKind::tcp;
    model().ready.address = std::move(address);
  }

  // A probe of the replica's own port needs a service that was told this port.
  void needs_port(const Node& node, std::string_view address, const std::string& fixed,
                  const std::string& own) {
    const auto told = [](std::string_view text) { return text.find(kPort) != text.npos; };
    if (misspelt_port_ || (!address.empty() && !told(address))) return;
    if (std::ranges::any_of(model().command, told) ||
        std::ranges::any_of(model().env, told, &EnvVar::value))
      return;
    report_.add(node.place,
                (address.empty() ? own : in_quotes(address)) +
                    " means the replica's own port, but neither 'command' nor 'env' holds {port}",
                "{port} where the service takes its port, or a fixed port: " + fixed);
  }

  // Whatever starts must fit the record that outlives us; said here rather than at the start.
  void size() {
    std::size_t bytes = 0;
    for (const std::string& word : model().command) bytes += word.size() + 1;
    for (const EnvVar& variable : model().env)
      bytes += variable.name.size() + variable.value.size() + 2;
    if (bytes > kLargestStart)
      report_.add(draft_.origin.name,
                  "'command' and 'env' have " + std::to_string(bytes) + " bytes together",
                  "at most " + std::to_string(kLargestStart));
  }

  const Node& table_;
  Report& report_;
  const Resolver& resolver_;
  Draft draft_;
  bool misspelt_port_ = false;  // said once, at the word
};

}  // namespace

Draft read_service(const Entry& service, Report& report, const Resolver& resolver) {
  return ServiceReader(service, report, resolver).read();
}

}  // namespace gpuward::config
