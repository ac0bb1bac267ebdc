#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/pid.h"
#include "base/units.h"
#include "domain/anchor_state.h"
#include "domain/gpu.h"

namespace gpuward {

/// What gpuward says of a service. The human sentence comes first, the code in brackets.
enum class Verdict : std::uint8_t {
  stopped = 0,
  starting = 1,
  healthy = 2,
  draining = 3,
  backing_off = 4,
  failed = 5,
  unkillable = 6,
};
/// "HEALTHY": a contract of the JSON output.
std::string_view to_string(Verdict verdict);

/// A fact that a verdict stands on.
struct Evidence {
  std::string what;   ///< "readiness"
  std::string value;  ///< "GET /config answered 200"
  double age_seconds = 0;
};

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
};

struct WardenReport {
  Pid pid;
  std::string version;
  std::uint64_t uptime_seconds = 0;
  std::string ledger_trouble;  ///< why nothing can be recorded; empty: it can
};

/// All that `status` shows.
struct StatusReport {
  std::optional<WardenReport> warden;  ///< absent: none runs
  GpuSnapshot gpu;
  std::vector<ServiceReport> services;
};

/// A receipt with its service's name, as `stop` prints it.
struct NamedReceipt {
  std::string service;
  std::uint32_t replica = 0;
  Receipt receipt;
};

/// The verdict on one tree, from what its anchor says. Pure.
Verdict judge(const AnchorState& state);
/// One sentence on it for people: "runs since 4 min, ready by GET /config".
std::string sentence_on(const AnchorState& state, Verdict verdict, Instant now);

}  // namespace gpuward
