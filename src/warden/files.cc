// The files that say what is to run: which they are, and what is started of them by itself.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <span>
#include <sstream>

#include "domain/host.h"
#include "os/fd.h"
#include "os/spawn.h"
#include "warden/warden.h"

namespace gpuward::warden {
namespace {

// What gpuward holds under anchors of its own, led like any other service.
void add_gateway(config::Parsed& parsed, const control::Home& home) {
  const bool wanted = std::ranges::any_of(
      parsed.services, [](const auto& service) { return service.door.has_value(); });
  if (!wanted) return;
  const auto places = gateway_places(home);
  if (!places) {
    std::fprintf(stderr, "gpuwardd: %s is not started: %s\n", std::string(kGatewayService).c_str(),
                 places.error().message().c_str());
    return;
  }
  auto gateway = gateway_service(parsed.services, *places);
  if (gateway && ::geteuid() == 0) gateway->rights.capabilities = 0;
  // It comes before all that it stands in front of, and goes after them.
  for (auto& service : parsed.services)
    if (service.door) service.after.emplace_back(kGatewayService);
  if (gateway) parsed.services.insert(parsed.services.begin(), std::move(*gateway));
}

void add_own_services(config::Parsed& parsed, const control::Home& home) {
  add_gateway(parsed, home);
  if (parsed.host.metrics.empty()) return;
  const auto program = os::sibling_program("gpuward");
  if (program)
    parsed.services.push_back(metrics_service(*program, parsed.host.metrics));
  else
    std::fprintf(stderr, "gpuwardd: %s is not started: %s\n", std::string(kMetricsService).c_str(),
                 program.error().message().c_str());
}

}  // namespace

// `up -c` holds until `down`: a warden that is started again after a crash leads the same services.
std::vector<std::string> Warden::chosen_files(const std::vector<std::string>& files) const {
  std::vector<std::string> chosen;
  chosen.reserve(files.size());
  for (const auto& file : files) chosen.push_back(std::filesystem::absolute(file).string());
  if (!files.empty()) return chosen;
  std::istringstream text(os::read_file(home_.chosen_files()).value_or(""));
  for (std::string line; std::getline(text, line);) chosen.push_back(line);
  return chosen;
}

// Only what could be read, or nobody would get out of a mistake again.
void Warden::remember_files() const {
  std::string text;
  for (const auto& file : files_) text += file + "\n";
  const auto written = os::replace_file_at(os::Fd(), home_.chosen_files().c_str(),
                                           std::as_bytes(std::span(text)), 0600);
  if (!written)
    std::fprintf(stderr, "gpuwardd: the next `up` will not know these files: %s\n",
                 written.error().message().c_str());
}

config::Parsed Warden::read_files() const {
  const std::vector<std::filesystem::path> paths(files_.begin(), files_.end());
  std::error_code ignored;
  config::Parsed parsed;  // Nothing configured: what `run` started is adopted.
  if (!paths.empty())
    parsed = config::load_files(paths);
  else if (std::filesystem::exists(home_.etc, ignored))
    parsed = config::load_folder(home_.etc);
  add_own_services(parsed, home_);
  return parsed;
}

void Warden::choose_autostart(const std::vector<ServiceModel>& services) {
  autostart_.clear();
  for (const auto& service : services)
    if (service.autostart) autostart_.push_back(service.name);
}

}  // namespace gpuward::warden
