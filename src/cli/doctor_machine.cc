// The part of doctor_facts.h that is about the driver and about what may take it away.

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "cli/doctor_facts.h"
#include "os/fd.h"

namespace gpuward::cli {
namespace {

constexpr std::size_t kMostFiles = 4096;
constexpr std::size_t kLongestStatus = std::size_t{64} << 20;  // of dpkg: 10 MiB are usual

std::string read_line(const std::string& path) {
  auto text = os::read_file(path, 4096).value_or("");
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

bool is_there(const std::string& path) {
  return ::faccessat(AT_FDCWD, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

std::string link_at(const std::string& path) {
  std::array<char, 4096> target{};
  const ssize_t n = ::readlink(path.c_str(), target.data(), target.size());
  return n <= 0 ? "" : std::string(target.data(), static_cast<std::size_t>(n));
}

std::string last_of(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

/// The names in a folder, sorted. nullopt: it cannot be read.
std::optional<std::vector<std::string>> names_in(const std::string& folder) {
  DIR* dir = ::opendir(folder.c_str());
  if (dir == nullptr) return std::nullopt;
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir)) {
    if (names.size() == kMostFiles) break;
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(dir);
  std::ranges::sort(names);
  return names;
}

std::optional<std::vector<PciCard>> find_cards(const std::string& root) {
  const std::string bus = root + "/sys/bus/pci/devices/";
  const auto addresses = names_in(bus);
  if (!addresses) return std::nullopt;
  std::vector<PciCard> cards;
  for (const auto& address : *addresses) {
    const std::string device = bus + address;
    // 0x10de: NVIDIA. 0x03....: a display controller; its sound and USB functions are no cards.
    if (read_line(device + "/vendor") != "0x10de" ||
        !read_line(device + "/class").starts_with("0x03"))
      continue;
    PciCard card;
    card.address = address;
    card.bound = last_of(link_at(device + "/driver"));
    const std::string node = read_line(device + "/numa_node");
    int number = -1;
    std::from_chars(node.data(), node.data() + node.size(), number);
    if (number >= 0) card.numa_node = number;
    cards.push_back(std::move(card));
  }
  return cards;
}

int count_nodes(const std::string& root) {
  const auto names = names_in(root + "/sys/devices/system/node");
  if (!names) return 1;
  const auto count = std::ranges::count_if(*names, [](const std::string& name) {
    return name.size() > 4 && name.starts_with("node") && name[4] >= '0' && name[4] <= '9';
  });
  return std::max(1, static_cast<int>(count));
}

}  // namespace

DriverFacts look_at_driver_files(const std::string& root) {
  DriverFacts facts;
  facts.cards = find_cards(root);
  facts.numa_nodes = count_nodes(root);
  facts.module_version = version_in(read_line(root + "/sys/module/nvidia/version"));
  if (facts.module_version.empty())
    facts.module_version = version_in(read_line(root + "/proc/driver/nvidia/version"));
  for (const char* folder : {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
                             "/usr/lib64", "/usr/lib", "/run/opengl-driver/lib"}) {
    // "libnvidia-ml.so.570.86.10": the loader's link tells the version without loading it.
    constexpr std::string_view kName = "libnvidia-ml.so.";
    const auto target = last_of(link_at(root + folder + "/libnvidia-ml.so.1"));
    if (!target.starts_with(kName)) continue;
    facts.library_version = version_in(std::string_view(target).substr(kName.size()));
    break;
  }
  return facts;
}

namespace {

std::vector<AptSetting> read_apt(const std::string& root) {
  std::vector<AptSetting> all;
  std::vector<std::string> files;
  const std::string folder = root + "/etc/apt/apt.conf.d/";
  for (const auto& name : names_in(folder).value_or(std::vector<std::string>{}))
    // As apt does: others are what dpkg or an editor has put aside.
    if (name.find('.') == std::string::npos || name.ends_with(".conf"))
      files.push_back(folder + name);
  files.push_back(root + "/etc/apt/apt.conf");
  for (const auto& file : files)
    for (auto& setting : parse_apt_conf(os::read_file(file).value_or("")))
      all.push_back(std::move(setting));
  return all;
}

void look_at_apt(const std::string& root, UpgradeFacts& facts) {
  std::string upgrades = "0";
  std::string periodic = "1";
  for (const auto& [name, value] : read_apt(root)) {
    if (name == "apt::periodic::unattended-upgrade") upgrades = value;
    if (name == "apt::periodic::enable") periodic = value;
    if (name == "unattended-upgrade::package-blacklist::") facts.blacklist.push_back(value);
  }
  const bool masked = link_at(root + "/etc/systemd/system/apt-daily-upgrade.timer") == "/dev/null";
  facts.apt = upgrades != "0" && !upgrades.empty() && periodic != "0" && !masked &&
              is_there(root + "/usr/bin/unattended-upgrade");
  if (facts.apt)
    facts.packages = parse_driver_packages(
        os::read_file(root + "/var/lib/dpkg/status", kLongestStatus).value_or(""));
}

void look_at_dnf(const std::string& root, UpgradeFacts& facts) {
  const auto wanted = names_in(root + "/etc/systemd/system/timers.target.wants");
  if (!wanted) return;
  const auto applies = [&](const char* file) {
    const auto text = os::read_file(root + file).value_or("");
    const auto value = ini_value(text, "apply_updates").value_or("no");
    return value == "yes" || value == "true" || value == "True" || value == "1";
  };
  for (const auto& name : *wanted) {
    if (name == "dnf-automatic-install.timer") facts.dnf = true;
    if (name == "dnf-automatic.timer") facts.dnf = facts.dnf || applies("/etc/dnf/automatic.conf");
    if (name == "dnf5-automatic.timer")
      facts.dnf = facts.dnf || applies("/etc/dnf/dnf5-plugins/automatic.conf") ||
                  applies("/etc/dnf/automatic.conf");
  }
  const auto text = os::read_file(root + "/etc/dnf/dnf.conf").value_or("");
  for (const char* key : {"exclude", "excludepkgs"})
    if (ini_value(text, key).value_or("").find("nvidia") != std::string::npos)
      facts.dnf_spares = true;
}

}  // namespace

UpgradeFacts look_at_upgrades(const std::string& root) {
  UpgradeFacts facts;
  facts.module_loaded = is_there(root + "/sys/module/nvidia");
  look_at_apt(root, facts);
  look_at_dnf(root, facts);
  return facts;
}

ToolkitFacts look_at_toolkit(const std::string& root) {
  ToolkitFacts facts;
  for (const char* file : {"/usr/bin/nvidia-container-runtime", "/usr/bin/nvidia-ctk",
                           "/usr/local/nvidia/toolkit/nvidia-container-runtime"})
    facts.installed = facts.installed || is_there(root + file);
  facts.systemd = is_there(root + "/run/systemd/system");
  const auto docker = os::read_file(root + "/etc/docker/daemon.json").value_or("");
  facts.cgroupfs = docker.find("native.cgroupdriver=cgroupfs") != std::string::npos;
  const auto runtime =
      os::read_file(root + "/etc/nvidia-container-runtime/config.toml").value_or("");
  facts.cdi = ini_value(runtime, "mode") == "\"cdi\"";
  facts.char_links = is_there(root + "/dev/char/195:0");
  return facts;
}

}  // namespace gpuward::cli
