#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/pid.h"
#include "base/units.h"
#include "domain/reading.h"

// What one look at the cards tells. Numbers are the driver's; each tells when it was read, and
// where it is missing why. Reasons and periods: docs/gpu.md.

namespace gpuward {

/// What can be said about the GPUs of this machine as a whole. Each is an answer, none an error.
enum class GpuSight : std::uint8_t {
  unknown = 0,  ///< nobody has looked yet
  visible = 1,
  no_library = 2,  ///< libnvidia-ml.so.1 is not here: no driver is installed
  no_driver = 3,   ///< the library is here, the kernel module is not loaded
  no_gpu = 4,
  mismatch = 5,  ///< NVML 18: the driver was changed underneath
  no_permission = 6,
  failed = 7,   ///< another NVML code; see detail
  hung = 8,     ///< a call did not come back, and no card is left that can be read
  cut_off = 9,  ///< NVML 999 or 17 in a container: it has lost its devices
};
/// "visible": a contract of the JSON output.
std::string_view to_string(GpuSight sight);

enum class GpuState : std::uint8_t {
  ok = 0,
  lost = 1,            ///< NVML 15: fell off the bus
  reset_required = 2,  ///< NVML 16
  suspect = 3,         ///< a call passed its deadline
  unreadable = 4,      ///< other NVML codes
  cut_off = 5,         ///< NVML 999 or 17 in a container: its device was taken from it
};
/// "ok": a contract of the JSON output.
std::string_view to_string(GpuState state);

/// Whether a row of the driver's list and a local process are the same, harm.md 4.
enum class Pairing : std::uint8_t {
  unknown = 0,
  paired = 1,   ///< for certain: held since before the list was read, or older than it, and alive
  gone = 2,     ///< no process here has that number, or it ended meanwhile
  young = 3,    ///< the process here is no older than the list: the next look can tell
  foreign = 4,  ///< the driver's numbers are not ours: never looked up
};
std::string_view to_string(Pairing pairing);

/// A row of the driver's process list. The pid is the driver's word: it is ours only where
/// GpuSnapshot::pids_are_ours.
struct GpuProcess {
  std::uint32_t pid = 0;
  std::uint64_t start_ticks = 0;  ///< of the local process it is; 0 unless paired
  Reading<Bytes> memory;
  Reading<std::uint32_t> sm_percent;
  std::uint8_t kind = 0;  ///< 0 compute, 1 graphics, 2 MPS
  Pairing pairing = Pairing::unknown;
  Reading<std::uint32_t> memory_percent;      ///< share of time with memory traffic
  std::optional<std::uint32_t> gpu_instance;  ///< of MIG
  std::optional<std::uint32_t> compute_instance;
};

/// A process that has ended, as the driver's accounting remembers it.
struct GpuEnded {
  std::uint32_t pid = 0;
  std::uint32_t gpu_percent = 0;     ///< mean over its life
  std::uint32_t memory_percent = 0;  ///< likewise
  Bytes memory_peak;
  std::uint64_t lived_ms = 0;
  std::uint64_t start_unix_us = 0;
};

/// How busy the parts of a card are, since the read before (GPM: Hopper and later).
struct GpuActivity {
  Reading<double> engine_percent;
  Reading<double> sm_percent;  ///< SMs with at least one warp
  Reading<double> occupancy_percent;
  Reading<double> tensor_percent;
  Reading<double> dram_percent;
  Reading<double> pcie_tx_mib_per_second;
  Reading<double> pcie_rx_mib_per_second;
  /// Switching between contexts: the one direct proof that several share the card by turns.
  Reading<double> switch_elapsed_cycles;
  Reading<double> switch_active_cycles;
  Reading<double> switch_requests;
  Reading<double> switch_cycles_per_request;
  Reading<double> switch_active_percent;
};

/// Nanoseconds for which the clocks were held down since the driver was loaded, by reason. They
/// miss no moment, unlike the mask of reasons.
struct GpuHeldDown {
  Reading<std::uint64_t> power_ns;
  Reading<std::uint64_t> thermal_ns;
  Reading<std::uint64_t> sync_boost_ns;
  Reading<std::uint64_t> board_ns;
  Reading<std::uint64_t> low_utilization_ns;
  Reading<std::uint64_t> reliability_ns;
  Reading<std::uint64_t> software_thermal_ns;
  Reading<std::uint64_t> hardware_thermal_ns;
  Reading<std::uint64_t> power_brake_ns;
};

/// Bits of GpuClimate::clock_reasons that tell of trouble.
inline constexpr std::uint64_t kReasonSoftwarePower = 0x4;
inline constexpr std::uint64_t kReasonHardwareSlowdown = 0x8;
inline constexpr std::uint64_t kReasonSoftwareThermal = 0x20;
inline constexpr std::uint64_t kReasonHardwareThermal = 0x40;
inline constexpr std::uint64_t kReasonPowerBrake = 0x80;

struct GpuClimate {
  Reading<std::uint32_t> temperature_celsius;
  Reading<std::uint32_t> memory_temperature_celsius;
  Reading<std::uint32_t> slowdown_celsius;  ///< from here on the hardware slows down
  Reading<std::uint32_t> power_milliwatts;
  Reading<std::uint32_t> power_limit_milliwatts;
  Reading<std::uint64_t> energy_millijoules;  ///< since the driver was loaded
  Reading<std::uint32_t> sm_clock_mhz;
  Reading<std::uint32_t> sm_clock_max_mhz;
  Reading<std::uint64_t> clock_reasons;  ///< NVML's mask: why the clocks are not higher
  GpuHeldDown held_down;
};

/// The driver's own advice (field 230).
enum class GpuAdvice : std::uint8_t {
  none = 0,
  reset = 1,
  reboot = 2,
  drain_p2p = 3,
  drain_and_reset = 4,
  recover_imex = 5,
};
std::string_view to_string(GpuAdvice advice);

struct GpuErrors {
  Reading<std::uint64_t> ecc_corrected;  ///< since the driver was loaded
  Reading<std::uint64_t> ecc_uncorrected;
  Reading<std::uint64_t> ecc_corrected_ever;  ///< in the card's life
  Reading<std::uint64_t> ecc_uncorrected_ever;
  Reading<std::uint32_t> rows_remapped_corrected;
  Reading<std::uint32_t> rows_remapped_uncorrected;
  Reading<bool> remap_pending;           ///< takes effect at the next reset
  Reading<bool> remap_failed;            ///< the card wants to be replaced
  Reading<std::uint32_t> pages_retired;  ///< before Ampere
  Reading<bool> retirement_pending;
  Reading<bool> sram_threshold_exceeded;  ///< the card wants to be replaced
  Reading<std::uint64_t> pcie_corrected;
  Reading<std::uint64_t> pcie_nonfatal;
  Reading<std::uint64_t> pcie_fatal;
  Reading<GpuAdvice> advice;
};

struct GpuLink {
  Reading<std::uint32_t> generation;
  Reading<std::uint32_t> generation_max;
  Reading<std::uint32_t> width;
  Reading<std::uint32_t> width_max;  ///< below it under load: a bad seat
  Reading<std::uint64_t> tx_bytes;   ///< counters that may wrap
  Reading<std::uint64_t> rx_bytes;
};

/// How near another card is, in the driver's levels.
enum class GpuDistance : std::uint8_t {
  same_board = 0,
  one_switch = 10,
  several_switches = 20,
  host_bridge = 30,
  numa_node = 40,
  system = 50,
};
std::string_view to_string(GpuDistance distance);

struct GpuNeighbour {
  std::uint32_t index = 0;
  GpuDistance distance = GpuDistance::system;
};

/// What stays as it is while the driver is loaded; read when the card is first seen, the modes
/// again each minute.
struct GpuPlace {
  std::string pci_bus_id;        ///< "0000:65:00.0", as sysfs writes it; empty: not told
  Reading<std::uint32_t> minor;  ///< N of /dev/nvidiaN
  Reading<std::uint32_t> numa_node;
  std::string local_cpus;                     ///< "0-15,32-47"; empty: not told
  Reading<std::uint32_t> architecture;        ///< NVML's: 7 Ampere, 8 Ada, 9 Hopper, 10 Blackwell
  Reading<std::uint32_t> compute_capability;  ///< major * 10 + minor
  Reading<bool> persistence;
  Reading<std::uint32_t> compute_mode;  ///< 0 default, 2 prohibited, 3 exclusive process
  Reading<bool> ecc;
  Reading<bool> accounting;
  Reading<bool> mig;
  std::vector<GpuNeighbour> neighbours;
};

/// A MIG instance.
struct GpuInstance {
  std::string uuid;
  std::uint32_t gpu_instance = 0;
  std::uint32_t compute_instance = 0;
  Bytes memory_total;
  Bytes memory_used;
  std::uint32_t multiprocessors = 0;
};

struct GpuDevice {
  std::string uuid;
  std::string name;
  std::uint32_t index = 0;
  GpuState state = GpuState::ok;
  std::string detail;  ///< why the state is not ok: "nvmlDeviceGetMemoryInfo_v2: code 15, ..."
  Bytes memory_total;  ///< as old as read_ns; all 0 where memory_answer is not `known`
  Bytes memory_used;
  Bytes memory_reserved;  ///< by the driver; 0 also where it does not tell it apart from used
  Answer memory_answer = Answer::not_asked;
  Reading<std::uint32_t> busy_percent;         ///< mean of the driver's samples since the last look
  Reading<std::uint32_t> memory_busy_percent;  ///< share of time with memory traffic
  std::vector<GpuProcess> processes;           ///< as old as read_ns
  bool processes_visible = false;  ///< false: the list could not be read; empty then says nothing
  Answer processes_answer = Answer::not_asked;
  std::uint32_t rows_refused = 0;  ///< rows that cannot be true: pid out of range, more than a card
  std::uint32_t rows_cut = 0;      ///< rows beyond what a snapshot carries (kMostRows)
  std::int64_t read_ns = 0;        ///< CLOCK_MONOTONIC of the last good read
  GpuActivity activity;
  GpuClimate climate;
  GpuErrors errors;
  GpuLink link;
  GpuPlace place;
  std::vector<GpuInstance> instances;
  std::vector<GpuEnded> ended;  ///< newest last, where accounting is on; at most kMostEnded
};

/// Bounds of a snapshot: one with 64 cards and 2,000 processes is far below wire::kMaxLarge.
inline constexpr std::size_t kMostRows = 4096;         // of a card
inline constexpr std::size_t kMostRowsOfAll = 32'768;  // of all cards: some 200 bytes each
inline constexpr std::size_t kMostEnded = 32;          // of a card
inline constexpr std::size_t kMostInstances = 64;
inline constexpr std::size_t kMostEvents = 64;

enum class GpuEventKind : std::uint8_t {
  other = 0,
  ecc_corrected = 1,
  ecc_uncorrected = 2,
  xid = 3,
  mig_changed = 4,
  ecc_storm = 5,
  retirement = 6,
  retirement_failed = 7,
  poison_contained = 8,
  poison_fatal = 9,
  unavailable = 10,
  recovery_action = 11,
};
std::string_view to_string(GpuEventKind kind);

/// Something the driver told by itself. It names no process: the kernel log does.
struct GpuEvent {
  std::uint32_t index = 0;  ///< of the card
  GpuEventKind kind = GpuEventKind::other;
  std::uint64_t data = 0;  ///< of an Xid its number (999: unknown)
  std::int64_t at_ns = 0;  ///< CLOCK_MONOTONIC of its arrival
};

/// One look at all cards.
struct GpuSnapshot {
  GpuSight sight = GpuSight::unknown;
  std::string detail;  ///< "driver 570.86", or what went wrong
  bool pids_are_ours = false;
  std::vector<GpuDevice> devices;
  std::int64_t taken_ns = 0;      ///< CLOCK_MONOTONIC
  std::string driver_version;     ///< of the library that is in use; kept from the last good look
  std::string module_version;     ///< of the kernel module; empty: not told
  std::vector<GpuEvent> events;   ///< since the snapshot before, at most kMostEvents
  std::uint32_t events_lost = 0;  ///< beyond that
  bool driver_changed = false;    ///< NVML 18 for whoever starts now; who was there goes on
  std::uint32_t unkillable_sentinels = 0;  ///< that hang in the driver and did not die of SIGKILL
};

/// One sentence for people: "no GPU library (libnvidia-ml.so.1): ...". Empty when visible.
std::string describe(GpuSight sight, const std::string& detail);

/// Why nothing that uses a card may be started or restarted now: a new process would find no
/// driver, while what runs goes on. Empty: it may. Pure.
std::string restarts_blocked(const GpuSnapshot& snapshot);

/// How old the card's numbers are at @p now_ns; nullopt: they were never read.
std::optional<std::chrono::nanoseconds> age_of(const GpuDevice& device, std::int64_t now_ns);

}  // namespace gpuward
