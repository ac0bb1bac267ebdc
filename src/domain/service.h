#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "domain/door.h"
#include "domain/rights.h"

namespace gpuward {

/// One variable of a service's environment.
struct EnvVar {
  std::string name;
  std::string value;
  friend bool operator==(const EnvVar&, const EnvVar&) = default;
};

/// How a service tells that it is ready.
enum class ReadyKind : std::uint8_t {
  started = 0,  ///< as soon as it runs: nothing was asked for
  tcp = 1,      ///< a TCP connection to `address` succeeds
  http = 2,     ///< GET `path` at `address` answers 200 to 399
  notify = 3,   ///< it says READY=1 to NOTIFY_SOCKET (sd_notify(3))
  log = 4,      ///< it prints `text`
};

/// Of Readiness::path: well inside any server's limit for a request line.
inline constexpr std::size_t kLongestReadyPath = 2000;

struct Readiness {
  ReadyKind kind = ReadyKind::started;
  /// Numeric "A.B.C.D:PORT" or "[v6]:PORT". "{port}" stands for the replica's own port, and an
  /// empty address for 127.0.0.1:{port}.
  std::string address;
  std::string path;
  std::chrono::milliseconds within{60'000};
  std::string text{};  ///< for `log`
  friend bool operator==(const Readiness&, const Readiness&) = default;
};

/// How a service that is ready goes on to show that it lives.
enum class LiveKind : std::uint8_t {
  off = 0,
  http = 1,    ///< GET `path` at `address` answers 200 to 399, asked `every` so often
  notify = 2,  ///< it says WATCHDOG=1 to NOTIFY_SOCKET at least `every` so often (sd_notify(3))
};

/// Of Readiness::text: what may be cut in two between two reads is kept.
inline constexpr std::size_t kLongestReadyText = 200;

struct Liveness {
  LiveKind kind = LiveKind::off;
  std::string address;  ///< as Readiness::address
  std::string path;
  std::chrono::milliseconds every{10'000};
  std::uint32_t failures = 3;  ///< so many in a row end the tree; it starts again by policy
  friend bool operator==(const Liveness&, const Liveness&) = default;
};

/// A question that gpuward asks a service itself while it is ready. With a known answer it is a
/// golden one: another answer tells of silent corruption.
struct Canary {
  std::string address;  ///< as Readiness::address, and of this machine
  std::string path;
  std::string method = "GET";
  std::string body_file;  ///< what is sent, at most kLargestCanaryBody; empty: nothing
  std::string type = "application/octet-stream";  ///< of the body
  std::uint32_t status = 0;                       ///< that is expected; 0: any from 200 to 399
  std::string answer_file;                        ///< the known answer; empty: the status is all
  std::vector<std::string> ignore;                ///< JSON pointers of what varies
  double tolerance = 0;                           ///< of numbers, as a part of the known one
  std::chrono::milliseconds every{60'000};
  std::chrono::milliseconds within{10'000};
  friend bool operator==(const Canary&, const Canary&) = default;
};
inline constexpr Bytes kLargestCanaryBody = 16_MiB;
inline constexpr std::size_t kMostIgnored = 64;

/// Sets @p variable in @p list, in the place of one of its name.
void set_variable(std::vector<EnvVar>& list, EnvVar variable);

enum class RestartPolicy : std::uint8_t {
  on_failure = 0,  ///< when main ends by a signal or with a code other than 0
  always = 1,
  never = 2,
};

/// How a tree has to be held.
enum class ContainmentWish : std::uint8_t {
  automatic = 0,  ///< the strongest that can be had without changing what the service sees
  cgroup = 1,     ///< or not started at all
  pidns = 2,      ///< in a PID namespace of its own, and a cgroup where one can be had
  subreaper = 3,  ///< without a cgroup, although one could be had
};
std::string_view to_string(ContainmentWish wish);

/// What becomes of a tree whose anchor died.
enum class OnAnchorDeath : std::uint8_t {
  keep = 0,  ///< it lives on and is taken over
  kill = 1,  ///< it is ended; `restart` says whether it starts again
};

/// What gpuward does by itself about a service that it finds sick.
enum class HealMode : std::uint8_t {
  observe = 0,  ///< says what it would have done
  act = 1,
};

/// "observe" or "act": as in the file.
std::string_view to_string(HealMode mode);

/// A command that is run when something has happened to a service.
struct Hook {
  std::string event;                 ///< one of hook_names() (hook.h)
  std::vector<std::string> command;  ///< at least one word
  friend bool operator==(const Hook&, const Hook&) = default;
};
inline constexpr std::size_t kMostHooks = 32;
inline constexpr std::uint32_t kMostHookLogLines = 100;

/// Restarts by gpuward's own judgement in any 24 hours; 0: none, only advice.
inline constexpr std::uint32_t kMostHealBudget = 24;

struct Backoff {
  std::chrono::milliseconds first{1'000};
  std::chrono::milliseconds max{60'000};
  /// Running this long forgets earlier failures.
  std::chrono::milliseconds reset{600'000};
  friend bool operator==(const Backoff&, const Backoff&) = default;
};

/// How much of what a service prints is kept.
struct LogPolicy {
  Bytes size{64ULL << 20};  ///< then a new file is begun
  std::chrono::milliseconds age{std::chrono::days(14)};
  Bytes total{1ULL << 30};  ///< of all its files together
  Bytes rate;               ///< bytes in a second; 0: no limit
  bool times = false;       ///< each line begins with the time at which it came
  friend bool operator==(const LogPolicy&, const LogPolicy&) = default;
};

/// What of a service may change while its process runs on.
struct LiveSettings {
  std::chrono::milliseconds ready_within{60'000};
  std::chrono::milliseconds grace{10'000};
  RestartPolicy restart = RestartPolicy::never;
  Backoff backoff;
  LogPolicy log;
  std::chrono::milliseconds live_every{10'000};
  std::uint32_t live_failures = 3;
  TreeLimits limits;                          ///< a limit can only change live where there was one
  std::chrono::milliseconds temp_max_age{0};  ///< of its temp folder, if it has one; 0: no limit
};

/// What an operator wrote about one service, checked, with defaults filled in. Nothing here depends
/// on the machine: ports are picked and files are looked up when a replica starts.
/// A socket that the anchor binds and keeps for as long as it leads: whoever connects while main
/// starts again waits in it.
struct KeptSocket {
  std::string name;     ///< for LISTEN_FDNAMES: no ':'
  std::string address;  ///< numeric "0.0.0.0:7860", or "unix:/PATH"
  friend bool operator==(const KeptSocket&, const KeptSocket&) = default;
};
/// A file that the anchor opens for reading at each start of main; /dev/null while it is missing.
struct HandedFile {
  std::string name;  ///< likewise
  std::string path;  ///< absolute
  friend bool operator==(const HandedFile&, const HandedFile&) = default;
};
/// Both are handed over as sd_listen_fds(3) takes them, first the sockets: so many at most.
inline constexpr std::size_t kMostHanded = 64;

struct ServiceModel {
  std::string name;                  ///< [A-Za-z0-9_-]{1,64}
  std::vector<std::string> command;  ///< at least one word; may contain "{port}"
  std::string directory;             ///< working directory; empty: where gpuward was started
  std::vector<EnvVar> env;           ///< `env` over `env_file`, later over earlier
  std::string env_file;              ///< where part of `env` was read from; empty for none
  std::string venv;  ///< conda or venv prefix, used without activation; empty for none
  Readiness ready;
  Liveness live;
  std::optional<Canary> canary;
  std::chrono::milliseconds grace{10'000};  ///< from TERM to KILL
  std::chrono::milliseconds drain{30'000};  ///< for jobs in flight at the gateway, before TERM
  RestartPolicy restart = RestartPolicy::on_failure;
  Backoff backoff;
  LogPolicy log;
  Rights rights;
  TreeLimits limits;
  bool private_tmp = false;  ///< a temp folder of its own, by TMPDIR, TEMP and TMP
  /// What nobody has used in it for so long is removed while the service runs; absent: nothing is.
  std::optional<std::chrono::milliseconds> private_tmp_max_age = std::chrono::days(10);
  ContainmentWish containment = ContainmentWish::automatic;
  OnAnchorDeath on_anchor_death = OnAnchorDeath::keep;
  HealMode heal = HealMode::observe;
  std::uint32_t heal_budget = 3;     ///< at most kMostHealBudget
  std::vector<Hook> hooks;           ///< one an event, at most kMostHooks
  std::uint32_t hook_log_lines = 0;  ///< of its log, that hooks are told; 0: none of its text
  std::string pid_file;  ///< main's pid for old scripts; empty for none. Never read by gpuward
  /// A process born after READY that holds GPU memory without using it for so long is told of;
  /// absent: off.
  std::optional<std::chrono::milliseconds> idle_holder = std::chrono::minutes(10);
  std::vector<std::string> release;  ///< patterns of command lines (glob.h): handed over at its end
  std::vector<KeptSocket> sockets;   ///< of gpuward's own services only
  std::vector<HandedFile> files;     ///< likewise
  std::optional<DoorModel> door;     ///< `listen`: the gateway stands in front of it
  bool autostart = true;
  std::vector<std::string> after;  ///< it starts when these are ready or have failed
  std::vector<std::string>
      needs;  ///< key `requires`: it starts when these are ready, and with them

  friend bool operator==(const ServiceModel&, const ServiceModel&) = default;
};

LiveSettings live_settings(const ServiceModel& service);

/// Does any word of the command, the readiness address or the environment ask for "{port}"?
bool wants_port(const ServiceModel& service);

/// A name that may become a folder, a cgroup and a table cell: [A-Za-z0-9_-]{1,64}, no leading '-'.
bool is_service_name(std::string_view name);
/// The same, or '@' and such a name: a service of gpuward's own, which no file may define.
bool is_known_name(std::string_view name);

}  // namespace gpuward
