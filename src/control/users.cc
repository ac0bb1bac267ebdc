#include "control/users.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "os/clock.h"
#include "os/spawn.h"

namespace gpuward::control {
namespace {

constexpr auto kAnswerWithin = std::chrono::seconds(5);

std::optional<std::uint32_t> parse_id(std::string_view text) {
  std::uint32_t id = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), id);
  const bool whole = code == std::errc{} && end == text.data() + text.size();
  if (!whole || id == UINT32_MAX) return std::nullopt;  // -1 means "unchanged" to the kernel
  return id;
}

// The fields of the one line that getent prints: "name:x:1000:1000::/home/name:/bin/sh".
Result<std::vector<std::string>> look_up(const char* database, const std::string& key) {
  auto text = os::run_and_read("/usr/bin/getent", {database, "--", key}, os::now() + kAnswerWithin);
  if (!text) return fail(std::move(text).error());
  std::string_view line = std::string_view(*text).substr(0, text->find('\n'));
  std::vector<std::string> fields;
  while (!line.empty()) {
    const auto field = line.substr(0, line.find(':'));
    fields.emplace_back(field);
    line.remove_prefix(std::min(field.size() + 1, line.size()));
  }
  return fields;
}

Result<std::uint32_t> group_id(const std::string& group) {
  if (const auto id = parse_id(group)) return *id;
  auto fields = look_up("group", group);
  const auto id = fields && fields->size() > 2 ? parse_id((*fields)[2]) : std::nullopt;
  if (!id) return fail(Errc::not_found, "find the group '" + group + "'");
  return *id;
}

Result<std::vector<std::uint32_t>> groups_of(const std::string& user) {
  auto text = os::run_and_read("/usr/bin/id", {"-G", "--", user}, os::now() + kAnswerWithin);
  if (!text) return fail(std::move(text).error());
  std::vector<std::uint32_t> groups;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const auto word = rest.substr(0, rest.find_first_of(" \n"));
    if (const auto id = parse_id(word)) groups.push_back(*id);
    rest.remove_prefix(std::min(word.size() + 1, rest.size()));
  }
  return groups;
}

Result<void> resolve_user(const std::string& user, const std::vector<EnvVar>& own,
                          std::vector<EnvVar>& env, LaunchRights& into) {
  const auto colon = user.find(':');
  const auto uid = parse_id(std::string_view(user).substr(0, colon));
  if (uid && colon != std::string::npos) {
    const auto gid = parse_id(std::string_view(user).substr(colon + 1));
    if (!gid) return fail(Errc::not_found, "read '" + user + "' as UID:GID");
    into.uid = uid;
    into.gid = *gid;
    return {};
  }
  auto fields = look_up("passwd", user);
  const auto found = [&](std::size_t at) {
    return fields && fields->size() > at ? parse_id((*fields)[at]) : std::nullopt;
  };
  if (!found(2) || !found(3)) {
    if (!uid) return fail(Errc::not_found, "find the user '" + user + "'");
    into.uid = uid;  // a number that has no name is still a user, with the group of that number
    into.gid = *uid;
    return {};
  }
  into.uid = found(2);
  into.gid = *found(3);
  auto groups = groups_of((*fields)[0]);
  if (!groups) return fail(std::move(groups).error());
  into.groups = std::move(*groups);
  const auto set = [&](const char* name, const std::string& value) {
    if (!value.empty() && std::ranges::find(own, name, &EnvVar::name) == own.end())
      set_variable(env, {name, value});
  };
  set("USER", (*fields)[0]);
  set("LOGNAME", (*fields)[0]);
  if (fields->size() > 5) set("HOME", (*fields)[5]);
  return {};
}

}  // namespace

Result<LaunchRights> resolve_rights(const Rights& rights, const std::vector<EnvVar>& own,
                                    std::vector<EnvVar>& env) {
  LaunchRights made;
  made.umask = rights.umask;
  made.limits = rights.limits;
  made.capabilities = rights.capabilities;
  made.no_new_privileges = rights.no_new_privileges;
  made.oom_score_adj = rights.oom_score_adj;
  made.nice = rights.nice;
  // A core would hold what the service works on (harm.md 12).
  if (std::ranges::find(made.limits, LimitKind::core, &Limit::kind) == made.limits.end())
    made.limits.push_back({LimitKind::core, 0});
  if (rights.user.empty()) return made;
  GPUWARD_TRY(resolve_user(rights.user, own, env, made));
  for (const auto& group : rights.groups) {
    auto id = group_id(group);
    if (!id) return fail(std::move(id).error());
    made.groups.push_back(*id);
  }
  return made;
}

}  // namespace gpuward::control
