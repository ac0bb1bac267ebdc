#include "cli/owners.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <filesystem>
#include <sstream>
#include <vector>

#include "control/observe.h"
#include "os/fd.h"
#include "os/proc_fs.h"

namespace gpuward::cli {
namespace {

std::string program(Pid pid) {
  std::array<char, PATH_MAX> text;
  const ssize_t n = ::readlink(("/proc/" + std::to_string(pid.number) + "/exe").c_str(),
                               text.data(), text.size());
  std::string path(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  if (path.ends_with(" (deleted)")) path.resize(path.size() - 10);
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

Owners::Owners(const control::Home& home) {
  const auto folders = control::list_anchors(home);
  if (!folders) return;
  for (const auto& folder : *folders) {
    const auto record = control::read_record(folder);
    if (!record) continue;
    for (const auto pid : control::tree_pids(folder, record->state))
      services_[static_cast<pid_t>(pid)] = folder.service;
  }
}

bool Owners::runs(const std::string& service) const {
  return std::ranges::any_of(services_, [&](const auto& item) { return item.second == service; });
}

std::string Owners::of(Pid pid) const {
  const auto at = services_.find(pid.number);
  if (at != services_.end()) return "service '" + at->second + "' of gpuward";
  if (program(pid).starts_with("gpuward")) return "gpuward itself";
  for (int steps = 0; pid.number > 1 && steps < 1000; ++steps) {
    if (program(pid) == "gpuward-anchor")
      return "another gpuward, by its anchor, pid " + std::to_string(pid.number);
    const auto stat = os::read_stat(pid);
    if (!stat) break;
    pid = stat->parent;
  }
  return {};
}

config::Parsed read_configuration(const control::Home& home) {
  std::vector<std::filesystem::path> files;
  std::istringstream text(os::read_file(home.chosen_files()).value_or(""));
  for (std::string line; std::getline(text, line);) files.emplace_back(line);
  return files.empty() ? config::load_folder(home.etc) : config::load_files(files);
}

}  // namespace gpuward::cli
