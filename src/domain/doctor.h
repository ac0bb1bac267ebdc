#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "domain/anchor_state.h"
#include "domain/finding.h"
#include "domain/machine_text.h"

// What `gpuward doctor` makes of the machine and of gpuward itself: from facts to findings, without
// a look of its own. The cards are in doctor_gpu.h.

namespace gpuward {

struct KernelFacts {
  std::string release;  ///< "6.1.0-18-amd64"
  bool pidfd = false;
  bool clone_into_cgroup = false;
  bool proc_children = false;
  bool exit_info = false;      ///< PIDFD_INFO_EXIT
  bool pid_namespace = false;  ///< one could be made just now
};
Finding check_kernel(const KernelFacts& facts);

struct CgroupFacts {
  Containment level = Containment::subreaper;  ///< that `containment = "auto"` would get here
  std::string place;                           ///< "cgroup2 at /sys/fs/cgroup/..."; empty: none
  std::string why_none;
  bool kill = false;          ///< cgroup.kill is there
  bool freeze = false;        ///< cgroup.freeze, or the v1 freezer
  std::string why_no_memory;  ///< why `memory_max` cannot hold; empty: it can
  std::string why_no_cpu;     ///< the same of `cpu_weight`
};
/// Two lines: the tree ("containment"), and the limits ("limits").
std::vector<Finding> check_cgroups(const CgroupFacts& facts, bool pid_namespace);

/// A folder of gpuward's, on the file system that holds it or will.
struct FolderFacts {
  std::string name;  ///< "state"
  std::string path;
  bool in_memory = false;  ///< tmpfs, as /run is: small by nature
  std::string why_unseen;  ///< "its file system did not answer"; empty: the numbers are true
  Bytes free;              ///< for this user
  Bytes size;
  std::uint64_t files = 0;  ///< that its file system can hold; 0: does not say
  std::uint64_t files_free = 0;
};
Finding check_folder(const FolderFacts& facts);

/// @param areas  nullopt: /proc/swaps cannot be read
Finding check_swap(const std::optional<std::vector<SwapArea>>& areas);

/// The temp folder of one replica (`private_tmp`).
struct TempFolderFacts {
  std::string name;  ///< "xray.0"
  Bytes size;
  std::uint64_t files = 0;
  std::chrono::seconds oldest{0};  ///< age of the oldest file
  bool whole = true;               ///< false: more was there than was looked at
};
/// @param why_unseen  they cannot be looked into; empty: they can
Finding check_temp_folders(const std::vector<TempFolderFacts>& folders,
                           const std::string& why_unseen);

struct CoreFacts {
  std::optional<std::string> pattern;  ///< kernel.core_pattern
  std::uint64_t limit = 0;             ///< RLIMIT_CORE, hard: what a service may raise its own to
  std::uint64_t soft = 0;              ///< what it starts with
};
Finding check_core(const CoreFacts& facts);

/// @param why_not  the kernel log cannot be read; empty: it can
Finding check_kernel_log(const std::string& why_not);

/// @param synchronised  nullopt: the kernel does not say
Finding check_clock(std::optional<bool> synchronised);

struct WardenFacts {
  enum class Answer : std::uint8_t { none, silent, answers } answer = Answer::none;
  std::string version;
  std::string own_version;
  std::string ledger_trouble;
  std::string home_trouble;          ///< a folder of gpuward's that is not safe; empty: none
  std::uint32_t anchors = 0;         ///< that live
  std::uint32_t anchors_silent = 0;  ///< of them
  std::uint32_t unowned = 0;         ///< trees that live although their anchor died
};
/// "warden", "ledger" where there is a warden, and "anchors".
std::vector<Finding> check_warden(const WardenFacts& facts);

struct UnitFacts {
  bool systemd = false;  ///< it runs this machine
  std::string path;      ///< of gpuward.service; empty: none
  std::string text;
  bool program_there = true;  ///< what ExecStart names
  bool configured = false;    ///< there are services that somebody might want at boot
};
Finding check_unit(const UnitFacts& facts);
/// The program that ExecStart of a unit names; empty: none.
std::string unit_program(const std::string& unit_text);

}  // namespace gpuward
