#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/pid.h"
#include "base/units.h"
#include "domain/anchor_state.h"
#include "domain/canary.h"
#include "domain/card.h"
#include "domain/gpu.h"
#include "domain/holder.h"
#include "domain/verdict.h"
#include "domain/xid_policy.h"

namespace gpuward {

struct TreeProcess {
  Pid pid;
  Pid parent;
  std::uint32_t depth = 0;
  std::string command;
};

struct ReplicaReport {
  std::uint32_t index = 0;
  Pid anchor;
  Pid main;
  std::uint32_t generation = 0;
  std::vector<TreeProcess> tree;
  std::uint32_t processes = 0;      ///< a count; the tree may be cut
  std::optional<Bytes> gpu_memory;  ///< absent: cannot be seen
  std::string endpoint;             ///< "127.0.0.1:41234"; empty: none known
  Bytes log_lost;                   ///< of what it printed, at least so much is not in its log
};

struct ServiceReport {
  std::string name;
  Verdict verdict = Verdict::stopped;
  std::string sentence;
  std::vector<Evidence> evidence;
  std::optional<Containment> containment;   ///< absent while nothing runs
  std::optional<MemoryProof> memory_proof;  ///< absent before the first stop
  std::vector<ReplicaReport> replicas;
  std::uint32_t restarts = 0;
  Action action = Action::none;  ///< the one thing to be done
  std::uint8_t witnesses = 0;    ///< independent sources that speak against it
  double verdict_age_seconds = 0;
  std::optional<CanaryReport> canary;  ///< absent: none is configured, or no warden sends it
  std::string listen;  ///< where the gateway listens for it; empty: nowhere, or no warden sends it
};

struct WardenReport {
  Pid pid;
  std::string version;
  std::uint64_t uptime_seconds = 0;
  std::string ledger_trouble;  ///< why nothing can be recorded; empty: it can
};

/// Can the kernel's log be read here? Each is an answer, none an error.
enum class KernelLogSight : std::uint8_t {
  off = 0,  ///< the configuration says so
  read = 1,
  no_permission = 2,  ///< dmesg_restrict, a container, another user
  absent = 3,         ///< no such file
  failed = 4,
};
/// "no-permission": a contract of the JSON output.
std::string_view to_string(KernelLogSight sight);

struct KernelLogReport {
  KernelLogSight sight = KernelLogSight::off;
  std::string path;
  std::string detail;      ///< why it cannot be read; empty: it can
  std::uint64_t lost = 0;  ///< records that were overwritten before they were read
};
/// One sentence for people, empty when it is read and nothing was lost.
std::string describe(const KernelLogReport& log);

/// What the driver said of a card in the kernel's log, as `status` shows it.
struct CardIncident {
  std::string gpu_uuid;  ///< empty: of a card that nobody can name
  std::string pci;       ///< "0000:61:00"; empty: the driver did not say
  std::uint32_t xid = 0;
  bool in_words = false;  ///< "fallen off the bus", without a number: xid is 79
  XidClass xid_class = XidClass::unlisted;
  XidAction action = XidAction::none;
  CardConsequence consequence = CardConsequence::none;
  std::optional<std::uint32_t> pid;  ///< as the host counts
  std::string process;
  std::string service;  ///< whose tree it was in; empty: none of ours, or not known
  std::uint32_t times = 1;
  double first_age_seconds = 0;
  double age_seconds = 0;  ///< of the last
  std::string sentence;
};

/// All that `status` shows.
struct StatusReport {
  std::optional<WardenReport> warden;  ///< absent: none runs
  GpuSnapshot gpu;
  std::vector<ServiceReport> services;
  std::optional<KernelLogReport> kernel_log;  ///< absent without a warden
  std::vector<CardIncident> incidents;        ///< of the last day, newest first
  std::vector<CardMark> cards;                ///< of those that are, or were once, out of use
  std::vector<HolderReport> holders;          ///< of `ps` and `reap`
  std::vector<CardReport> card_sums;          ///< likewise
};

/// A receipt with its service's name, as `stop` prints it.
struct NamedReceipt {
  std::string service;
  std::uint32_t replica = 0;
  Receipt receipt;
};

}  // namespace gpuward
