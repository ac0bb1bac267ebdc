#include "config/service_reader.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <initializer_list>
#include <optional>

#include "base/units.h"
#include "config/canary_reader.h"
#include "config/door_reader.h"
#include "config/env_file.h"
#include "config/heal_reader.h"
#include "config/keys.h"
#include "config/log_reader.h"
#include "config/placeholder.h"
#include "config/readiness.h"
#include "config/reap_reader.h"
#include "config/rights_reader.h"
#include "config/table_reader.h"
#include "config/temp_reader.h"
#include "domain/glob.h"

namespace gpuward::config {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr std::string_view kPort = "{port}";
// Command and environment travel and are kept in one record of at most 64 KiB.
constexpr std::size_t kLargestStart = std::size_t{48} * 1024;

constexpr Range kWait{1ms, 24h, "1ms to 24h"};
constexpr Range kWaitOrZero{0ms, 24h, "0s to 24h"};
constexpr Range kPause{0ms, 24h, "0s to 24h"};
constexpr Range kLiveEvery{100ms, 24h, "100ms to 24h"};
constexpr Range kReset{1ms, 30 * 24h, "1ms to 30d"};

class ServiceReader : private TableReader {
 public:
  ServiceReader(const Entry& service, Report& report, const Resolver& resolver, Draft& draft)
      : TableReader(service.value, report, draft.origin), resolver_(resolver), draft_(draft) {
    draft_.model.name = service.key;
    draft_.origin.name = service.place;
  }

  void read() {
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
    read_log(*this, model().log);
    read_rights(*this, model().rights);
    read_tree_limits(*this, model().limits);
    read_private_tmp(*this, model());
    holding();
    truth("autostart", model().autostart);
    read_heal(*this, model());
    release();
    read_holding(*this, model());
    links("after", model().after);
    links("requires", model().needs);
    ready();
    live();
    canary(base);
    read_door(*this, model());
    size();
    draft_.sound = report_.size() == before;
  }

 private:
  ServiceModel& model() { return draft_.model; }

  void path(std::string_view key, const std::string& base, std::string& into) {
    if (const Entry* entry = table_.find(key)) TableReader::path(entry->value, key, base, into);
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

  void stop() {
    const Node* table = subtable("stop", R"(a table: { grace = "10s", drain = "30s" })");
    if (table == nullptr) return;
    duration(*table, "stop", "grace", kWaitOrZero, model().grace);
    duration(*table, "stop", "drain", kWaitOrZero, model().drain);
  }

  template <class Value>
  struct Named {
    std::string_view name;
    Value value;
  };

  // One of a few words.
  template <class Value, std::size_t N>
  void one_of(std::string_view key, const std::array<Named<Value>, N>& words,
              const std::string& expected, Value& into) {
    const Entry* entry = find(key);
    if (entry == nullptr) return;
    if (entry->value.kind != Kind::string) return wrong_type(entry->value, key, expected);
    const auto found =
        std::ranges::find(words, std::string_view(entry->value.text), &Named<Value>::name);
    if (found == words.end())
      return add(entry->value.place,
                 in_quotes(key) + " does not know " + in_quotes(entry->value.text), expected);
    into = found->value;
  }

  void restart() {
    static constexpr std::array<Named<RestartPolicy>, 3> kPolicies = {
        {{"on-failure", RestartPolicy::on_failure},
         {"always", RestartPolicy::always},
         {"never", RestartPolicy::never}}};
    one_of("restart", kPolicies, R"("on-failure", "always" or "never")", model().restart);
  }

  void holding() {
    static constexpr std::array<Named<ContainmentWish>, 4> kWishes = {
        {{"auto", ContainmentWish::automatic},
         {"cgroup", ContainmentWish::cgroup},
         {"pidns", ContainmentWish::pidns},
         {"subreaper", ContainmentWish::subreaper}}};
    static constexpr std::array<Named<OnAnchorDeath>, 2> kDeaths = {
        {{"keep", OnAnchorDeath::keep}, {"kill", OnAnchorDeath::kill}}};
    one_of("containment", kWishes, R"("auto", "cgroup", "pidns" or "subreaper")",
           model().containment);
    one_of("on_anchor_death", kDeaths, R"("keep" or "kill")", model().on_anchor_death);
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

  // Names of other services; whether there are such is known when every file was read.
  void links(std::string_view key, std::vector<std::string>& into) {
    const std::string expected = R"(a list of services: ["db"])";
    words(key, expected, [&](const Node& node, const std::string& name) {
      if (!is_service_name(name))
        report_.add(node.place, in_quotes(name) + " cannot be the name of a service", expected);
      else if (std::ranges::find(into, name) != into.end())
        report_.add(node.place, in_quotes(key) + " names " + in_quotes(name) + " twice");
      else if (name == model().name)
        report_.add(node.place, "service " + in_quotes(name) + " names itself in " + in_quotes(key),
                    "another service");
      else
        into.push_back(name);
      draft_.origin.keys.try_emplace(link_key(key, name), node.place);
    });
  }

  void release() {
    const std::string expected =
        R"(at most 16 patterns with * and ? of whole command lines: ["*/worker.py *"])";
    words("release", expected, [&](const Node& node, const std::string& pattern) {
      if (const auto fault = release_fault(pattern); !fault.empty())
        report_.add(node.place, "a pattern of 'release' " + std::string(fault), expected);
      else if (model().release.size() == kMostReleasePatterns)
        report_.add(node.place, "'release' has more patterns than are kept", expected);
      else
        model().release.push_back(pattern);
    });
    if (!model().release.empty() && model().containment == ContainmentWish::pidns)
      report_.add(draft_.origin.of("release"),
                  "'release' hands nothing over with containment = \"pidns\": nobody leaves a PID "
                  "namespace, and it ends as a whole",
                  "another containment, or no 'release'");
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

  void canary(const std::string& base) {
    const Node* table = subtable("canary", R"(a table: { http = "/health", every = "60s" })");
    if (table == nullptr) return;
    Canary& canary = model().canary.emplace();
    read_canary(*this, *table, base, canary);
    const Entry* http = table->find("http");
    if (http == nullptr)
      return report_.add(draft_.origin.of("canary"), "'canary' has no 'http'",
                         R"(where to ask: http = "/health")");
    auto target = http_target(http->value, "canary.http");
    if (!target) return;
    const bool here = target->address.empty() || target->address.starts_with("127.") ||
                      target->address.starts_with("[::1]");
    if (!here)
      return report_.add(http->value.place, "'canary.http' is not on this machine",
                         R"("127.0.0.1:7860/path", "[::1]:7860/path" or "/path")");
    canary.address = std::move(target->address);
    canary.path = std::move(target->path);
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
    for (const std::string& pattern : model().release) bytes += pattern.size() + 6;
    if (bytes > kLargestStart)
      report_.add(draft_.origin.name,
                  "'command' and 'env' have " + std::to_string(bytes) + " bytes together",
                  "at most " + std::to_string(kLargestStart));
  }

  const Resolver& resolver_;
  Draft& draft_;
  bool misspelt_port_ = false;  // said once, at the word
};

}  // namespace

Draft read_service(const Entry& service, Report& report, const Resolver& resolver) {
  Draft draft;
  ServiceReader(service, report, resolver, draft).read();
  return draft;
}

}  // namespace gpuward::config
