#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/units.h"

namespace gpuward {

/// A job of one gateway, whatever the protocol calls it. Given by the gateway, never used twice.
struct JobId {
  std::uint64_t value = 0;
  friend auto operator<=>(const JobId&, const JobId&) = default;
};

/// A replica of the service, by its index in the configuration.
struct ReplicaId {
  std::uint32_t value = 0;
  friend auto operator<=>(const ReplicaId&, const ReplicaId&) = default;
};

/// Strict between classes: while an interactive job waits, no batch job starts.
enum class JobClass : std::uint8_t { emergency, interactive, batch };
inline constexpr std::size_t kJobClasses = 3;
std::string_view name(JobClass job_class);

/// What is known of a job when it arrives.
struct Job {
  JobId id{};
  JobClass job_class = JobClass::interactive;
  /// Whose turn it is, for fairness and quota: a ward, a key, an address. 0: nobody's in
  /// particular.
  std::uint64_t caller = 0;
  /// Jobs of one session go to one replica. 0: to any.
  std::uint64_t session = 0;
  std::uint32_t route = 0;  ///< jobs of one route and similar size take similar time
  Bytes size{};             ///< of the upload it works on; 0: unknown
  Bytes held{};             ///< bytes that the gateway keeps while it waits
  Instant arrived{};
  /// By when it is of no use any more; absent: of use whenever it comes.
  std::optional<Instant> deadline{};
};

/// How a job that was given to a replica has ended.
enum class JobEnd : std::uint8_t {
  done,           ///< answered: its duration counts
  failed,         ///< answered, but not as it should: its duration tells nothing
  cancelled,      ///< given up before its end
  out_of_memory,  ///< the replica said so, or a CUDA error did
  replica_died,
};

/// Why a job is not done. The wire speaks name(), people read describe().
enum class RefusalReason : std::uint8_t {
  queue_full,         ///< its class holds as many jobs as it may
  queue_bytes_full,   ///< or as many bytes
  displaced,          ///< it waited, and a more urgent one needed its place
  over_quota,         ///< its caller has enough jobs waiting
  cannot_finish,      ///< on arrival: those before it take too long
  too_late,           ///< while waiting: its time has run out
  does_not_fit_gpu,   ///< needs more GPU memory than any card has, even alone
  does_not_fit_host,  ///< or more of the host's
  no_replica,         ///< every replica is down for good
  shutting_down,
};

/// A job that will not be done, with the numbers why. Numbers that do not apply are absent.
struct Refusal {
  RefusalReason reason = RefusalReason::queue_full;
  std::optional<Duration> eta{};      ///< until it would have started
  std::optional<Duration> service{};  ///< what it takes once started
  std::optional<Duration> left{};     ///< until its deadline; negative: so long ago
  std::optional<Bytes> needed{};
  std::optional<Bytes> available{};        ///< of the most roomy replica, with nothing else there
  std::optional<std::uint64_t> waiting{};  ///< jobs (or bytes) that wait
  std::optional<std::uint64_t> limit{};    ///< of these
  /// When to come again; 0: never as it is.
  std::chrono::seconds retry_after{0};
};

struct RefusedJob {
  JobId id{};
  std::uint64_t session = 0;
  Refusal refusal{};
};

/// "queue_full", for JSON and metrics.
std::string_view name(RefusalReason reason);
/// The status a client of HTTP gets: 413, 429, 503 or 504.
int http_status(RefusalReason reason);
/// One sentence with the numbers: "needs 30 GiB of GPU memory, the card offers 17 GiB".
std::string describe(const Refusal& refusal);
/// @p wait in whole seconds, rounded up, and up to a fifth more that @p salt chooses, so that those
/// refused together do not come back together. 1 s to 1 h.
std::chrono::seconds retry_after(Duration wait, std::uint64_t salt);

/// May a job that met a failure be given to another replica? Asked once per job. The rule is this
/// table: every fact must hold.
struct RetryFacts {
  bool replica_failed = false;    ///< the connection broke or was refused; no answer is no retry
  bool nothing_answered = false;  ///< no byte came back from the replica
  bool not_started = false;       ///< the adapter says that the replica did not begin the job
  bool replayable = false;        ///< all of its body is still here
  bool client_waits = false;
  std::uint32_t tries = 1;  ///< how often it was given to a replica
};
bool may_retry(const RetryFacts& facts);

}  // namespace gpuward
