#include "domain/change.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>
#include <string_view>

#include "base/fnv.h"
#include "base/units.h"

namespace gpuward {
namespace {

std::string words(const std::vector<std::string>& list) {
  std::string text;
  for (const auto& word : list) {
    const bool plain = !word.empty() && word.find(' ') == word.npos;
    text += (text.empty() ? "" : " ") + (plain ? word : "\"" + word + "\"");
  }
  return text;
}

std::string ready_way(const Readiness& ready) {
  switch (ready.kind) {
    case ReadyKind::started:
      return "as soon as it runs";
    case ReadyKind::tcp:
      return "tcp " + (ready.address.empty() ? "{port}" : ready.address);
    case ReadyKind::http:
      return "http " + ready.address + ready.path;
    case ReadyKind::notify:
      return "notify";
    case ReadyKind::log:
      return "log \"" + ready.text + "\"";
  }
  return {};
}

std::string live_way(const Liveness& live) {
  if (live.kind == LiveKind::off) return "off";
  return live.kind == LiveKind::notify ? "notify" : "http " + live.address + live.path;
}

std::string canary_text(const std::optional<Canary>& canary) {
  if (!canary) return "off";
  std::string text =
      canary->method + " " + (canary->address.empty() ? "{port}" : canary->address) + canary->path;
  if (!canary->body_file.empty()) text += " with " + canary->body_file + " as " + canary->type;
  text += " every " + to_string(canary->every) + " within " + to_string(canary->within);
  if (canary->status != 0) text += ", status " + std::to_string(canary->status);
  if (canary->answer_file.empty()) return text;
  text += ", answer " + canary->answer_file;
  std::array<char, 32> tolerance{};
  std::snprintf(tolerance.data(), tolerance.size(), "%.9g", canary->tolerance);
  if (canary->tolerance != 0) text += std::string(", tolerance ") + tolerance.data();
  for (const auto& pointer : canary->ignore) text += ", but for " + pointer;
  return text;
}

std::string policy_name(RestartPolicy policy) {
  if (policy == RestartPolicy::on_failure) return "on-failure";
  return policy == RestartPolicy::always ? "always" : "never";
}

std::string death_name(OnAnchorDeath what) {
  return what == OnAnchorDeath::kill ? "kill" : "keep";
}

std::string or_none(const std::string& text) {
  return text.empty() ? "none" : text;
}

std::string rate_text(Bytes rate) {
  return rate.count == 0 ? "none" : to_string(rate) + "/s";
}

const char* truth(bool value) {
  return value ? "true" : "false";
}

std::string rights_text(const Rights& rights) {
  std::string text = rights.user.empty() ? "" : "user " + rights.user;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (!rights.groups.empty()) add("groups " + words(rights.groups));
  if (rights.umask) add("umask " + std::to_string(*rights.umask));
  for (const auto& limit : rights.limits)
    add(std::string(to_string(limit.kind)) + " " +
        (limit.value == kUnlimited ? "unlimited" : std::to_string(limit.value)));
  if (rights.capabilities) add("caps " + std::to_string(*rights.capabilities));
  if (rights.no_new_privileges) add("no_new_privs");
  if (rights.oom_score_adj) add("oom_score_adj " + std::to_string(*rights.oom_score_adj));
  if (rights.nice) add("nice " + std::to_string(*rights.nice));
  return or_none(text);
}

struct Comparer {
  std::vector<FieldChange> changes{};

  void field(std::string name, const std::string& from, const std::string& to, Effect effect) {
    if (from != to) changes.push_back({std::move(name), from, to, effect});
  }
  template <class Time>
  void time(std::string name, Time from, Time to, Effect effect = Effect::live) {
    if (from != to) field(std::move(name), to_string(from), to_string(to), effect);
  }
  void env(const std::vector<EnvVar>& from, const std::vector<EnvVar>& to) {
    std::set<std::string> names;
    for (const auto& variable : from) names.insert(variable.name);
    for (const auto& variable : to) names.insert(variable.name);
    for (const auto& name : names) {
      const auto before = std::ranges::find(from, name, &EnvVar::name);
      const auto after = std::ranges::find(to, name, &EnvVar::name);
      const bool was = before != from.end();
      const bool is = after != to.end();
      if (was && is && before->value == after->value) continue;
      changes.push_back({"env." + name, was ? "set" : "not set",
                         !is   ? "not set"
                         : was ? "set to another value"
                               : "set",
                         Effect::restart});
    }
  }
};

// A group of its own is joined before the first instruction: what processes took before they came
// would not count. So a new limit waits for a new process, and another value does not.
void limits(Comparer& c, const TreeLimits& from, const TreeLimits& to) {
  const auto effect = [](bool was, bool is) { return was == is ? Effect::live : Effect::restart; };
  const auto weight = [](std::uint32_t value) {
    return value == 0 ? "none" : std::to_string(value);
  };
  const auto memory = [](Bytes value) { return value.count == 0 ? "none" : to_string(value); };
  c.field("cpu_weight", weight(from.cpu_weight), weight(to.cpu_weight),
          effect(from.cpu_weight != 0, to.cpu_weight != 0));
  // Two sizes may look the same to people.
  if (from.memory_max != to.memory_max)
    c.changes.push_back({"memory_max", memory(from.memory_max), memory(to.memory_max),
                         effect(from.memory_max.count != 0, to.memory_max.count != 0)});
}

// Every event once, with what is run for it.
void hooks(Comparer& c, const ServiceModel& from, const ServiceModel& to) {
  const auto command = [](const ServiceModel& service, const std::string& event) {
    const auto at = std::ranges::find(service.hooks, event, &Hook::event);
    return at == service.hooks.end() ? std::string("none") : words(at->command);
  };
  std::set<std::string> events;
  for (const auto& hook : from.hooks) events.insert(hook.event);
  for (const auto& hook : to.hooks) events.insert(hook.event);
  for (const auto& event : events)
    c.field("hooks." + event, command(from, event), command(to, event), Effect::live);
  c.field("hooks.log_lines", std::to_string(from.hook_log_lines), std::to_string(to.hook_log_lines),
          Effect::live);
}

class Mark {
 public:
  void add(std::string_view text) {
    hash_ = fnv1a(text, hash_);
    hash_ = fnv1a({"\0", 1}, hash_);  // so that two words are not one
  }
  std::uint64_t value() const { return hash_ == 0 ? 1 : hash_; }

 private:
  std::uint64_t hash_ = kFnvBasis;
};

}  // namespace

std::vector<FieldChange> compare(const ServiceModel& before, const ServiceModel& after) {
  Comparer c;
  c.field("command", words(before.command), words(after.command), Effect::restart);
  c.field("directory", or_none(before.directory), or_none(after.directory), Effect::restart);
  c.env(before.env, after.env);
  c.field("venv", or_none(before.venv), or_none(after.venv), Effect::restart);
  c.field("ready", ready_way(before.ready), ready_way(after.ready), Effect::restart);
  c.time("ready.within", before.ready.within, after.ready.within);
  c.field("live", live_way(before.live), live_way(after.live), Effect::restart);
  c.time("live.every", before.live.every, after.live.every);
  c.field("live.failures", std::to_string(before.live.failures),
          std::to_string(after.live.failures), Effect::live);
  c.field("canary", canary_text(before.canary), canary_text(after.canary), Effect::live);
  c.time("stop.grace", before.grace, after.grace);
  c.time("stop.drain", before.drain, after.drain);
  c.field("restart", policy_name(before.restart), policy_name(after.restart), Effect::live);
  c.time("backoff.first", before.backoff.first, after.backoff.first);
  c.time("backoff.max", before.backoff.max, after.backoff.max);
  c.time("backoff.reset", before.backoff.reset, after.backoff.reset);
  c.field("log.size", to_string(before.log.size), to_string(after.log.size), Effect::live);
  c.field("log.total", to_string(before.log.total), to_string(after.log.total), Effect::live);
  c.time("log.age", before.log.age, after.log.age);
  c.field("log.rate", rate_text(before.log.rate), rate_text(after.log.rate), Effect::live);
  c.field("log.times", truth(before.log.times), truth(after.log.times), Effect::live);
  c.field("rights", rights_text(before.rights), rights_text(after.rights), Effect::restart);
  limits(c, before.limits, after.limits);
  c.field("private_tmp", truth(before.private_tmp), truth(after.private_tmp), Effect::restart);
  const auto limit_of = [](const std::optional<std::chrono::milliseconds>& limit) {
    return limit ? to_string(*limit) : "off";
  };
  c.field("private_tmp.max_age", limit_of(before.private_tmp_max_age),
          limit_of(after.private_tmp_max_age), Effect::live);
  c.field("containment", std::string(to_string(before.containment)),
          std::string(to_string(after.containment)), Effect::restart);
  c.field("on_anchor_death", death_name(before.on_anchor_death), death_name(after.on_anchor_death),
          Effect::restart);
  c.field("heal", std::string(to_string(before.heal)), std::string(to_string(after.heal)),
          Effect::live);
  c.field("heal_budget", std::to_string(before.heal_budget), std::to_string(after.heal_budget),
          Effect::live);
  hooks(c, before, after);
  c.field("pid_file", or_none(before.pid_file), or_none(after.pid_file), Effect::restart);
  c.field("release", or_none(words(before.release)), or_none(words(after.release)),
          Effect::restart);
  c.field("idle_holder", limit_of(before.idle_holder), limit_of(after.idle_holder), Effect::live);
  c.field("autostart", truth(before.autostart), truth(after.autostart), Effect::live);
  c.field("after", or_none(words(before.after)), or_none(words(after.after)), Effect::live);
  c.field("requires", or_none(words(before.needs)), or_none(words(after.needs)), Effect::live);
  return c.changes;
}

std::uint64_t process_mark(const ServiceModel& service) {
  Mark mark;
  for (const auto& word : service.command) mark.add(word);
  mark.add("|");
  for (const auto& variable : service.env) {
    mark.add(variable.name);
    mark.add(variable.value);
  }
  mark.add("|");
  for (const auto& text : {service.directory, service.venv, ready_way(service.ready),
                           live_way(service.live), rights_text(service.rights), service.pid_file})
    mark.add(text);
  // Marks of services without these stay what they were for earlier versions.
  if (service.limits.cpu_weight != 0) mark.add("cpu_weight");
  if (service.limits.memory_max.count != 0) mark.add("memory_max");
  if (service.private_tmp) mark.add("private_tmp");
  // Only where they are not the default: the mark of a service without them stays what it was.
  if (service.containment != ContainmentWish::automatic) mark.add(to_string(service.containment));
  if (service.on_anchor_death != OnAnchorDeath::keep) mark.add("kill");
  if (!service.release.empty()) mark.add("release");
  for (const auto& pattern : service.release) mark.add(pattern);
  return mark.value();
}

}  // namespace gpuward
