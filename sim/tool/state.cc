#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/units.h"
#include "tool/commands.h"

namespace gpuward::gpusim::tool {

Result<void> open_state(Session& session, const std::string& path, bool for_change) {
  Open status = session.open(path);
  if (status == Open::kOk && for_change) status = session.attach();
  if (status == Open::kOk) return {};
  if (status == Open::kFailed) return fail(last_error("open", path));
  const Errc why =
      status == Open::kAbsent || status == Open::kGone ? Errc::not_found : Errc::refused;
  return fail(why, "open '" + path + "' (" + describe(status) + ")");
}

std::optional<std::uint64_t> parse_time(std::string_view text) {
  std::uint64_t unit = 0;
  if (text.ends_with("ns")) unit = 1;
  if (text.ends_with("us")) unit = 1000;
  if (unit == 0) {
    const auto parsed = parse_duration(text);
    if (!parsed) return std::nullopt;
    return static_cast<std::uint64_t>(parsed->count()) * 1'000'000;
  }
  text.remove_suffix(2);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  if (text.empty() || text.size() > 12) return std::nullopt;
  std::uint64_t value = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(digit - '0');
  }
  return value * unit;
}

namespace {

/// Tells everyone attached that the cards are gone. Not being able to is no obstacle.
void retire(const std::string& path) {
  static Session old;  // stays mapped until the tool ends
  if (old.open(path) != Open::kOk) return;
  old.state().header.flags.fetch_or(kDestroyed);
  old.wake_all();
}

}  // namespace

Result<void> create(const std::string& path, const CreateOptions& options, bool force) {
  if (force) retire(path);
  const int problem = create_state(path, options, force);
  if (problem == EEXIST) {
    return fail(error_from(EEXIST, "create (gpusim destroy, or --force, removes it)", path));
  }
  if (problem != 0) return fail(error_from(problem, "create", path));
  return {};
}

Result<void> destroy(const std::string& path) {
  retire(path);
  if (::unlink(path.c_str()) != 0) return fail(last_error("destroy", path));
  return {};
}

}  // namespace gpuward::gpusim::tool
