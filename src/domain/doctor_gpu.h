#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "domain/finding.h"
#include "domain/gpu.h"
#include "domain/machine_text.h"

// What `gpuward doctor` makes of the cards, their driver, and what may take them away.

namespace gpuward {

/// A display or compute controller of NVIDIA's on the PCI bus, by sysfs: seen without a driver.
struct PciCard {
  std::string address;           ///< "0000:61:00.0"
  std::string bound;             ///< the kernel's driver: "nvidia", "vfio-pci"; empty: none
  std::optional<int> numa_node;  ///< absent: sysfs says -1, or nothing
};

struct DriverFacts {
  GpuSnapshot look;             ///< through gpuward-sentinel
  std::string module_version;   ///< of the loaded kernel module; empty: none is loaded
  std::string library_version;  ///< by the file that libnvidia-ml.so.1 is a link to; empty: unknown
  std::optional<std::vector<PciCard>> cards;  ///< nullopt: the bus cannot be seen
  int numa_nodes = 1;                         ///< of this machine
};
/// The driver as a whole.
Finding check_driver(const DriverFacts& facts);
/// Where the cards hang, by sysfs.
Finding check_numa(const DriverFacts& facts);
/// A line a card, and one more for each thing that is not well with it.
std::vector<Finding> check_cards(const GpuSnapshot& look);
/// May NVML's lists be believed: do the numbers of its processes mean ours, do its rows add up?
std::vector<Finding> check_lists(const GpuSnapshot& look);

/// One self-test of the driver's library, as gpuward-sentinel --self-test prints it: "ok stride
/// GPU 0: 3 rows, 24 bytes each". They prove on this machine what docs of the library leave open.
struct SelfTest {
  enum class Outcome : std::uint8_t { ok, differs, unseen } outcome = Outcome::unseen;
  std::string name;
  std::string text;
};
/// Lines of another form are passed over; at most 1,000.
std::vector<SelfTest> parse_self_tests(std::string_view lines);
/// One line a name, of the worst outcome.
/// @param trouble  the tests did not come to their end; empty: they did
std::vector<Finding> check_self_tests(const std::vector<SelfTest>& tests,
                                      const std::string& trouble);

/// What may exchange the driver under running services.
struct UpgradeFacts {
  bool apt = false;                     ///< unattended-upgrades is switched on
  bool dnf = false;                     ///< dnf-automatic is, and installs
  bool dnf_spares = false;              ///< its configuration leaves NVIDIA's packages out
  std::vector<DriverPackage> packages;  ///< by dpkg
  std::vector<std::string> blacklist;   ///< Unattended-Upgrade::Package-Blacklist
  bool module_loaded = false;           ///< a driver is here, whoever installed it
};
Finding check_upgrades(const UpgradeFacts& facts);

/// The NVIDIA container toolkit: containers lose their cards when systemd reloads its units
/// (NVIDIA/nvidia-container-toolkit#48, #251).
struct ToolkitFacts {
  bool installed = false;
  bool systemd = false;     ///< runs this machine
  bool cgroupfs = false;    ///< docker makes its groups itself (native.cgroupdriver=cgroupfs)
  bool cdi = false;         ///< containers are given their cards by CDI
  bool char_links = false;  ///< /dev/char/195:0 is there
};
Finding check_toolkit(const ToolkitFacts& facts);

}  // namespace gpuward
