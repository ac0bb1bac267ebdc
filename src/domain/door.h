#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "domain/dispatch.h"
#include "domain/job.h"
#include "domain/queue.h"

namespace gpuward {

/// What a service speaks, for the gateway in front of it: what a job is, and where it ends.
enum class Protocol : std::uint8_t {
  none = 0,     ///< no gateway
  http = 1,     ///< one exchange is one job
  openai = 2,   ///< the same; streamed answers end with [DONE]
  gradio = 3,   ///< a job is an event_id
  comfyui = 4,  ///< a job is a prompt_id
};
/// "http"; absent for any other word.
std::optional<Protocol> protocol_named(std::string_view word);
std::string_view name(Protocol protocol);

/// What becomes of a job that a replica works on when its client has left. One that still waits is
/// forgotten in any case.
enum class OnClientGone : std::uint8_t {
  automatic = 0,  ///< as the protocol does it best
  close = 1,      ///< the connection to the replica is closed, which ends the job there
  drain = 2,      ///< it runs to its end, and keeps its place so long
};
std::optional<OnClientGone> on_client_gone_named(std::string_view word);
std::string_view name(OnClientGone what);

/// Requests whose path begins with `prefix` are jobs of this class; of several the longest counts.
struct ClassRoute {
  std::string prefix;
  JobClass job_class = JobClass::interactive;
  bool pass = false;  ///< they are no jobs: passed on at once (health, files, streams of news)
  friend bool operator==(const ClassRoute&, const ClassRoute&) = default;
};
inline constexpr std::size_t kMostClassRoutes = 64;

/// The door in front of one service, as it is written down.
struct DoorModel {
  Protocol protocol = Protocol::http;
  std::string listen;  ///< numeric: "0.0.0.0:7860"
  QueueSettings queue;
  std::vector<ClassRoute> routes;          ///< at most kMostClassRoutes
  JobClass usual = JobClass::interactive;  ///< of jobs that no route names
  OnClientGone on_client_gone = OnClientGone::automatic;
  /// A client that closes only its sending side is still there: most that do so have left.
  bool half_close = false;
  /// A client whose network is cut is given up after so long without an answer to what was sent.
  std::chrono::milliseconds lost_after{30'000};
  /// A job that takes longer at a replica has failed; absent: no limit.
  std::optional<std::chrono::milliseconds> job_limit;
  /// Whoever is waited for, a client that sends or one that takes, moves at least 1 KiB a second
  /// over such a time; a head has to come whole within it.
  std::chrono::milliseconds patience{30'000};
  /// Of one upload.
  Bytes largest_body = 4_GiB;

  friend bool operator==(const DoorModel&, const DoorModel&) = default;
};

/// One replica as the gateway sees it.
struct DoorReplica {
  std::uint32_t index = 0;
  std::string endpoint;  ///< numeric, on this machine: "127.0.0.1:20001"
  ReplicaState state = ReplicaState::down;
  std::string card{};  ///< UUID of the one it uses; empty: none, or several

  friend bool operator==(const DoorReplica&, const DoorReplica&) = default;
};

/// What the gateway is told of one service: everything, each time.
struct Door {
  std::string service;
  DoorModel model;
  std::vector<DoorReplica> replicas;

  friend bool operator==(const Door&, const Door&) = default;
};

/// One job, for `gpuward jobs`. Holds nothing of what is in it (harm.md 11).
struct JobReport {
  std::string service;
  std::uint64_t id = 0;
  JobClass job_class = JobClass::interactive;
  bool waiting = false;
  bool client_gone = false;                        ///< it runs to its end at the replica
  std::chrono::milliseconds age{};                 ///< since it came
  std::optional<std::chrono::milliseconds> eta{};  ///< until it starts; absent: it runs, or unknown
  std::uint32_t rank = 0;                          ///< 1 is next; 0: it runs
  std::optional<std::uint32_t> replica{};          ///< where it runs
  Bytes size{};                                    ///< of its upload
};

/// How the door of one service does.
struct DoorReport {
  std::string service;
  std::uint64_t waiting = 0;
  std::uint64_t in_flight = 0;
  std::uint64_t clients = 0;  ///< connections
  // Since the gateway began.
  std::uint64_t done = 0;
  std::uint64_t failed = 0;
  std::uint64_t refused = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t empty_answers = 0;    ///< well-formed, and nothing in them
  std::uint64_t cut_off_answers = 0;  ///< ended before their end
  struct Replica {
    std::uint32_t index = 0;
    ReplicaState state = ReplicaState::down;
    std::uint32_t in_flight = 0;
    std::uint32_t limit = 1;
    std::string why;  ///< the limit is what it is: "grew", "ceiling"
    Bytes gpu_reserved{};
    Bytes host_reserved{};
  };
  std::vector<Replica> replicas{};
};

}  // namespace gpuward
