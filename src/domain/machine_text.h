#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"

// Texts of the machine that `gpuward doctor` reads: the kernel's, the package managers', systemd's.
// What does not follow its format is passed over, never an error: doctor reads what is there.

namespace gpuward {

/// A line of /proc/swaps.
struct SwapArea {
  std::string name;  ///< "/dev/sda2"; the kernel writes blanks as "\040"
  Bytes size;
  Bytes used;
  /// zram: compressed memory, not a disk.
  bool in_memory() const { return name.starts_with("/dev/zram"); }
};
std::vector<SwapArea> parse_swaps(std::string_view text);

/// One setting of apt.conf(5): scopes joined by "::", in lower case, because apt ignores it.
/// Elements of a list have an empty last name: "unattended-upgrade::package-blacklist::".
struct AptSetting {
  std::string name;
  std::string value;
};
/// At most 10,000 settings and 16 scopes deep.
std::vector<AptSetting> parse_apt_conf(std::string_view text);

/// A package of /var/lib/dpkg/status that belongs to the NVIDIA driver: kernel module, library or
/// the tools that must match them.
struct DriverPackage {
  std::string name;
  bool held = false;  ///< apt-mark hold
};
std::vector<DriverPackage> parse_driver_packages(std::string_view dpkg_status);
bool is_driver_package(std::string_view name);

/// Does one of @p patterns keep unattended-upgrades from @p package? It matches them as regular
/// expressions from the beginning of the name. Here what stands before the first special character
/// is compared: a pattern is believed to protect rather more than less.
bool is_blacklisted(std::string_view package, const std::vector<std::string>& patterns);

/// The last value of @p key in an ini file, whatever its section, without blanks around it.
std::optional<std::string> ini_value(std::string_view text, std::string_view key);

/// "570.86.10" of /sys/module/nvidia/version or /proc/driver/nvidia/version; empty: none in it.
/// The first word of digits and dots, with a dot.
std::string version_in(std::string_view text);

}  // namespace gpuward
