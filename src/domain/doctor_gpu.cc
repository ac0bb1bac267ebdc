#include "domain/doctor_gpu.h"

#include <algorithm>

#include "base/utf8.h"
#include "domain/memory_proof.h"

namespace gpuward {
namespace {

Finding finding(std::string check, Grade grade, std::string found, std::string cost = {},
                std::string mend = {}) {
  return {std::move(check), grade, std::move(found), std::move(cost), std::move(mend)};
}

std::string count_of(std::uint64_t n, std::string_view thing) {
  return std::to_string(n) + " " + std::string(thing) + (n == 1 ? "" : "s");
}

std::string name_of(const GpuDevice& device) {
  return "GPU " + std::to_string(device.index) + " (" +
         (device.name.empty() ? "name unknown" : printable(device.name)) + ")";
}

constexpr const char* kReload =
    "end what uses the GPU (gpuward down), then modprobe -r nvidia_uvm nvidia_drm nvidia_modeset "
    "nvidia && modprobe nvidia; or reboot";

// The versions of both halves, where only one or none could be asked.
std::string versions(const DriverFacts& facts) {
  const auto& module =
      facts.module_version.empty() ? facts.look.module_version : facts.module_version;
  const auto& library =
      facts.look.driver_version.empty() ? facts.library_version : facts.look.driver_version;
  return "kernel module " + (module.empty() ? "of unknown version" : printable(module)) +
         ", library " + (library.empty() ? "of unknown version" : printable(library));
}

// Without a library or a module: is that to be expected of this machine?
Finding no_driver(const DriverFacts& facts, const std::string& sentence) {
  if (!facts.cards)
    return finding("driver", Grade::unseen, sentence + "; the PCI bus cannot be seen either");
  if (facts.cards->empty())
    return finding("driver", Grade::unseen, sentence + "; no NVIDIA card on the PCI bus");
  return finding(
      "driver", Grade::fail,
      sentence + ", although the PCI bus has " + count_of(facts.cards->size(), "NVIDIA card"),
      "no service can use them, and nothing is seen of them",
      facts.look.sight == GpuSight::no_library
          ? "install the driver; in a container: start it with "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility"
          : "modprobe nvidia; journalctl -k -g -i nvidia says why it is not loaded");
}

Finding mismatch(const DriverFacts& facts) {
  return finding("driver", Grade::fail, "it was changed underneath: " + versions(facts),
                 "running services go on, but none can be started again", kReload);
}

}  // namespace

Finding check_driver(const DriverFacts& facts) {
  const std::string sentence = printable(describe(facts.look.sight, facts.look.detail));
  switch (facts.look.sight) {
    case GpuSight::visible:
      break;
    case GpuSight::no_library:
    case GpuSight::no_driver:
    case GpuSight::no_gpu:
      return no_driver(facts, sentence);
    case GpuSight::mismatch:
      return mismatch(facts);
    case GpuSight::no_permission:
      return finding("driver", Grade::warn, sentence, "nothing is seen of the cards",
                     "run gpuward as a user who may open /dev/nvidiactl and /dev/nvidia*");
    case GpuSight::hung:
      return finding("driver", Grade::fail, sentence,
                     "whatever asks the driver may hang as well, and cannot be killed then",
                     "journalctl -k -g NVRM tells more; a reset of the card or a reboot ends it");
    case GpuSight::cut_off:
      return finding("driver", Grade::fail, sentence,
                     "services in this container run on until they open a card anew, and fail then",
                     "restart the container; line 'container toolkit', on the host, says how to "
                     "prevent it");
    case GpuSight::unknown:
      return finding("driver", Grade::unseen, sentence, "nothing is seen of the cards yet",
                     "run it again; persistence mode (nvidia-smi -pm 1) keeps cards awake");
    case GpuSight::failed:
      return finding("driver", Grade::fail, sentence, "nothing is seen of the cards",
                     "nvidia-smi beside it tells whether it is the driver");
  }
  // New programs of ours are let in by both halves: whatever files say is no mismatch then.
  if (facts.look.driver_changed) return mismatch(facts);
  return finding("driver", Grade::ok,
                 printable(facts.look.detail) + ", " + count_of(facts.look.devices.size(), "card"));
}

Finding check_numa(const DriverFacts& facts) {
  if (!facts.cards) return finding("numa", Grade::unseen, "the PCI bus cannot be seen");
  if (facts.cards->empty()) return finding("numa", Grade::unseen, "no NVIDIA card on the PCI bus");
  std::string text;
  bool all = true;
  for (const auto& card : *facts.cards) {
    text += (text.empty() ? "" : ", ") + printable(card.address) + " at " +
            (card.numa_node ? "node " + std::to_string(*card.numa_node) : "no known node");
    all = all && card.numa_node;
  }
  if (all || facts.numa_nodes == 1)
    return finding("numa", Grade::ok, text + "; " + count_of(facts.numa_nodes, "node"));
  return finding("numa", Grade::warn, text + "; " + count_of(facts.numa_nodes, "node"),
                 "services cannot be placed near their card: each copy may cross the machine",
                 "the BIOS, or the settings of the virtual machine, tell the node of a slot");
}

namespace {

Finding broken(const GpuDevice& device) {
  const std::string check = "GPU " + std::to_string(device.index);
  const std::string name = name_of(device);
  const std::string why = device.detail.empty() ? "" : " (" + printable(device.detail) + ")";
  switch (device.state) {
    case GpuState::ok:
      break;
    case GpuState::lost:
      return finding(check, Grade::fail, name + " has fallen off the bus" + why,
                     "its services fail, and no restart helps",
                     "reboot; if it comes again: seat, power cable, cooling");
    case GpuState::reset_required:
      return finding(
          check, Grade::fail, name + " wants a reset" + why, "its services fail until then",
          "end what uses it, then nvidia-smi --gpu-reset -i " + std::to_string(device.index));
    case GpuState::suspect:
      return finding(check, Grade::fail, name + ": a call to it does not come back" + why,
                     "whatever uses it may hang, and cannot be killed then",
                     "journalctl -k -g NVRM tells more; a reset or a reboot ends it");
    case GpuState::cut_off:
      return finding(check, Grade::fail, name + " was taken from this container" + why,
                     "its services run on until they open it anew, and fail then",
                     "restart the container");
    case GpuState::unreadable:
      break;
  }
  return finding(check, Grade::fail, name + " cannot be read" + why,
                 "nothing is known of what it does",
                 "nvidia-smi -q -i " + std::to_string(device.index) + " beside it");
}

std::string watts(std::uint32_t milliwatts) {
  return std::to_string((milliwatts + 500) / 1000) + " W";
}

Finding healthy(const GpuDevice& device) {
  const GpuClimate& climate = device.climate;
  std::string text = name_of(device) + ": " + to_string(device.memory_used) + " of " +
                     to_string(device.memory_total) + " used";
  if (climate.temperature_celsius)
    text += ", " + std::to_string(*climate.temperature_celsius) + " C";
  if (climate.power_milliwatts) text += ", " + watts(*climate.power_milliwatts);
  if (climate.power_milliwatts && climate.power_limit_milliwatts)
    text += " of " + watts(*climate.power_limit_milliwatts);
  if (device.place.persistence.value_or(false)) text += ", persistence on";
  // The second bit of NVML's mask; no trouble, but it explains a number.
  constexpr std::uint64_t kReasonApplication = 0x2;
  if ((climate.clock_reasons.value_or(0) & kReasonApplication) != 0)
    text += ", its clocks are set by somebody";
  return finding("GPU " + std::to_string(device.index), Grade::ok, text);
}

/// Adds the lines of one card: what is not well, each with its price.
class CardTroubles {
 public:
  CardTroubles(const GpuDevice& device, std::vector<Finding>& into)
      : device_(device), into_(into) {}

  void all() {
    setting();
    clocks();
    memory();
    advice();
    link();
  }

 private:
  void add(const char* what, Grade grade, std::string found, std::string cost, std::string mend) {
    into_.push_back(finding("GPU " + index() + " " + what, grade, std::move(found), std::move(cost),
                            std::move(mend)));
  }
  std::string index() const { return std::to_string(device_.index); }
  std::string reset() const {
    return "gpuward down, or end what uses it; then nvidia-smi --gpu-reset -i " + index();
  }
  void setting() {
    constexpr std::uint32_t kProhibited = 2;
    if (device_.place.persistence.known() && !*device_.place.persistence)
      add("persistence", Grade::warn, "persistence mode is off",
          "the first program on an idle card waits seconds for the driver, and settings are lost "
          "between programs",
          "systemctl enable --now nvidia-persistenced, or nvidia-smi -pm 1 -i " + index());
    if (device_.place.compute_mode.value_or(0) == kProhibited)
      add("compute mode", Grade::fail, "is 'prohibited'", "no CUDA program can use it",
          "nvidia-smi -c DEFAULT -i " + index());
  }
  void clocks() {
    const std::uint64_t reasons = device_.climate.clock_reasons.value_or(0);
    std::string why;
    const auto add_why = [&](std::uint64_t bit, const char* words) {
      if ((reasons & bit) != 0) why += (why.empty() ? "" : ", ") + std::string(words);
    };
    add_why(kReasonHardwareSlowdown, "the hardware slows it down");
    add_why(kReasonSoftwareThermal, "it is too warm");
    add_why(kReasonHardwareThermal, "it is much too warm");
    add_why(kReasonPowerBrake, "the power supply asks for less");
    if (!why.empty())
      add("clocks", Grade::warn, "held down: " + why, "every job takes longer",
          "see to cooling, fans and power cables; nvidia-smi -q -d PERFORMANCE -i " + index());
  }
  void memory() {
    const GpuErrors& errors = device_.errors;
    if (errors.remap_failed.value_or(false) || errors.sram_threshold_exceeded.value_or(false))
      add("memory", Grade::fail, "its memory cannot be repaired any more",
          "answers may be wrong, and programs on it are ended", "have the card replaced");
    else if (errors.remap_pending.value_or(false) || errors.retirement_pending.value_or(false))
      add("memory", Grade::warn, "a repair of its memory waits for a reset",
          "the bad place is in use until then", reset());
    if (const auto bad = errors.ecc_uncorrected.value_or(0); bad != 0)
      add("ECC", Grade::warn,
          count_of(bad, "error") + " that ECC could not correct, since the driver was loaded",
          "the programs that met them have failed", reset());
  }
  void advice() {
    const GpuAdvice advice = device_.errors.advice.value_or(GpuAdvice::none);
    if (advice == GpuAdvice::none) return;
    add("advice", Grade::fail, "the driver advises: " + std::string(to_string(advice)),
        "the card will not be well before", advice == GpuAdvice::reboot ? "reboot" : reset());
  }
  void link() {
    const GpuLink& link = device_.link;
    if (!link.width || !link.width_max || *link.width >= *link.width_max) return;
    add("link", Grade::warn,
        "PCIe width " + std::to_string(*link.width) + " of " + std::to_string(*link.width_max),
        "copies to and from the card take longer",
        "if it is so under load too: another slot, or seat the card anew");
  }

  const GpuDevice& device_;
  std::vector<Finding>& into_;
};

}  // namespace

std::vector<Finding> check_cards(const GpuSnapshot& look) {
  std::vector<Finding> findings;
  for (const auto& device : look.devices) {
    const bool well = device.state == GpuState::ok;
    findings.push_back(well ? healthy(device) : broken(device));
    if (well) CardTroubles(device, findings).all();
  }
  return findings;
}

namespace {

Finding check_sum(const GpuDevice& device, bool pids_are_ours) {
  // What the driver needs for itself; more than that is somebody's (facts: contexts of dead
  // processes, other namespaces).
  constexpr Bytes kDrivers = 512_MiB;
  const std::string check = "list of GPU " + std::to_string(device.index);
  if (!device.processes_visible)
    return finding(check, Grade::unseen, "its processes cannot be listed from here");
  Bytes sum;
  for (const auto& row : device.processes)
    if (row.memory) sum += *row.memory;
  std::string text = count_of(device.processes.size(), "row") + " with " + to_string(sum) + ", " +
                     to_string(device.memory_used) + " in use";
  if (device.rows_refused != 0)
    return finding(check, Grade::warn,
                   text + ", " + count_of(device.rows_refused, "row") + " that cannot be true",
                   "the list is not believed: what services hold may be told as too little",
                   "please report the driver's version with gpuward-sentinel --once --json");
  if (sum > device.memory_used + 64_MiB)
    return finding(check, Grade::warn, text + ": more than there is",
                   "rows may be read wrongly: what services hold is not told truly",
                   "please report the driver's version with gpuward-sentinel --once --json");
  if (!rows_explain(device, pids_are_ours))
    return finding(check, Grade::unseen,
                   text + (pids_are_ours ? "; the memory of a row is not told here"
                                         : "; other PID namespaces may have rows of their own"));
  const Bytes rest = device.memory_used - sum;
  if (rest > kDrivers)
    return finding(check, Grade::warn, text + ": " + to_string(rest) + " that no row explains",
                   "that memory is not to be had",
                   "gpuward ps tells what is known; processes of other PID namespaces are not in "
                   "the list");
  return finding(check, Grade::ok, text);
}

}  // namespace

std::vector<Finding> check_lists(const GpuSnapshot& look) {
  std::vector<Finding> findings;
  if (look.sight != GpuSight::visible) return findings;
  if (look.pids_are_ours)
    findings.push_back(finding("pid space", Grade::ok, "the driver's numbers are ours"));
  else
    findings.push_back(finding("pid space", Grade::warn,
                               "the driver's numbers may be another PID namespace's",
                               "no row can be given a name, an owner or an end",
                               "run gpuward on the host itself (docker: --pid=host)"));
  for (const auto& device : look.devices)
    if (device.state == GpuState::ok) findings.push_back(check_sum(device, look.pids_are_ours));
  return findings;
}

std::vector<SelfTest> parse_self_tests(std::string_view lines) {
  using enum SelfTest::Outcome;
  std::vector<SelfTest> tests;
  while (!lines.empty() && tests.size() < 1000) {
    auto line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    const auto take = [&] {
      const auto word = line.substr(0, line.find(' '));
      line.remove_prefix(std::min(word.size() + 1, line.size()));
      return word;
    };
    const auto outcome = take();
    const auto name = take();
    if (name.empty() || line.empty() ||
        (outcome != "ok" && outcome != "differs" && outcome != "unseen"))
      continue;
    tests.push_back({outcome == "ok"        ? ok
                     : outcome == "differs" ? differs
                                            : unseen,
                     printable(name), printable(line)});
  }
  return tests;
}

std::vector<Finding> check_self_tests(const std::vector<SelfTest>& tests,
                                      const std::string& trouble) {
  using Outcome = SelfTest::Outcome;
  // A test that one card could prove is proven; where one differs, that is the outcome.
  const auto weight = [](Outcome outcome) {
    return outcome == Outcome::differs ? 2 : outcome == Outcome::ok ? 1 : 0;
  };
  std::vector<const SelfTest*> worst;
  for (const auto& test : tests) {
    const auto at = std::ranges::find_if(worst, [&](auto* one) { return one->name == test.name; });
    if (at == worst.end())
      worst.push_back(&test);
    else if (weight(test.outcome) > weight((*at)->outcome))
      *at = &test;
  }
  std::vector<Finding> findings;
  for (const auto* test : worst) {
    Finding one = finding("self-test " + test->name,
                          test->outcome == Outcome::ok ? Grade::ok : Grade::unseen, test->text);
    if (test->outcome == Outcome::differs) {
      one.grade = Grade::warn;
      one.cost = "gpuward may misread this driver";
      one.mend = "please report it with the driver's version";
    }
    findings.push_back(std::move(one));
  }
  if (!trouble.empty())
    findings.push_back(finding("self-test", Grade::warn, printable(trouble),
                               "whether gpuward reads this driver rightly is not proven",
                               "gpuward-sentinel --self-test shows how far it comes"));
  return findings;
}

Finding check_upgrades(const UpgradeFacts& facts) {
  const std::string check = "driver upgrades";
  if (facts.dnf && facts.module_loaded && !facts.dnf_spares)
    return finding(check, Grade::warn, "dnf-automatic installs what is new, NVIDIA's packages too",
                   "the driver may be exchanged under running services: none can be restarted then "
                   "until a reboot",
                   "exclude=*nvidia* cuda-drivers* in /etc/dnf/dnf.conf");
  if (!facts.apt)
    return finding(
        check, Grade::ok,
        facts.dnf ? "dnf-automatic leaves NVIDIA's packages alone" : "none by themselves");
  std::vector<std::string> free;
  for (const auto& package : facts.packages)
    if (!package.held && !is_blacklisted(package.name, facts.blacklist))
      free.push_back(package.name);
  if (free.empty())
    return finding(check, Grade::ok,
                   facts.packages.empty()
                       ? "unattended-upgrades runs; no driver was installed as a package"
                       : "unattended-upgrades leaves the driver's packages alone");
  std::string names = printable(free.front());
  if (free.size() > 1) names += " and " + count_of(free.size() - 1, "other");
  return finding(check, Grade::warn, "unattended-upgrades may exchange " + names,
                 "the driver changes under running services: none can be restarted then until a "
                 "reboot",
                 "\"nvidia-\"; \"libnvidia-\"; \"linux-modules-nvidia-\"; in "
                 "Unattended-Upgrade::Package-Blacklist, or apt-mark hold them");
}

Finding check_toolkit(const ToolkitFacts& facts) {
  const std::string check = "container toolkit";
  if (!facts.installed) return finding(check, Grade::unseen, "not installed");
  if (!facts.systemd) return finding(check, Grade::ok, "installed; systemd does not run here");
  for (const auto& [safe, why] : {std::pair{facts.cgroupfs, "docker makes its groups itself"},
                                  {facts.char_links, "/dev/char has links to the cards"},
                                  {facts.cdi, "containers are given their cards by CDI"}})
    if (safe) return finding(check, Grade::ok, std::string("installed; ") + why);
  return finding(check, Grade::warn, "installed, without links to the cards in /dev/char",
                 "after each systemctl daemon-reload containers lose their cards: what opens one "
                 "anew fails (NVML 999), what runs seems well",
                 "nvidia-ctk system create-dev-char-symlinks --create-all, at each boot; or CDI");
}

}  // namespace gpuward
