#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

/// The state file of the simulated GPUs, as every participant maps it.
///
/// Nothing in it is ever protected by a lock. What changes often (DeviceValue) is never overwritten
/// where a reader may look: a writer fills a buffer of its own and publishes it by one
/// compare-and-swap on the device's head. Everything else is a single atomic word, or is written
/// only by the gpusim tool, which takes kToolByte first.
namespace gpuward::gpusim {

inline constexpr char kMagic[8] = {'G', 'P', 'U', 'S', 'I', 'M', '\n', 0};
inline constexpr std::uint32_t kLayoutVersion = 2;

inline constexpr unsigned kMaxSlots = 2560;
inline constexpr unsigned kMaxDevices = 64;
inline constexpr unsigned kMaxContexts = 256;
inline constexpr unsigned kDeviceBins = 120;
inline constexpr unsigned kContextBins = 8;
inline constexpr unsigned kMaxFaults = 64;
inline constexpr unsigned kMaxEvents = 256;
inline constexpr unsigned kMaxAccounted = 256;
inline constexpr unsigned kMaxForeign = 4096;
/// MIG: instances of a card.
inline constexpr unsigned kMaxInstances = 7;
inline constexpr std::uint32_t kNoInstance = ~std::uint32_t{0};
/// "Until further notice" for times and counts.
inline constexpr std::uint64_t kNever = ~std::uint64_t{0};
inline constexpr std::uint32_t kAlways = ~std::uint32_t{0};

// Bytes of the file that carry record locks. They may lie anywhere, also inside the data.
constexpr long life_byte(unsigned slot) {
  return static_cast<long>(slot);
}
constexpr long memory_byte(unsigned slot) {
  return 100000L + static_cast<long>(slot);
}
inline constexpr long kToolByte = 200000;

// ContextValue::flags
inline constexpr std::uint32_t kRowless = 1U << 0;  ///< the owner is gone: memory only, no row
inline constexpr std::uint32_t kLost = 1U << 1;     ///< fault: the context is gone, its owner lives
inline constexpr std::uint32_t kMovingOut = 1U
                                            << 2;    ///< checkpoint: to the host until moving_until
inline constexpr std::uint32_t kMovingIn = 1U << 3;  ///< restore: back until moving_until
inline constexpr std::uint32_t kParked = 1U << 4;    ///< checkpointed: no row, no device memory

/// One CUDA context on one device.
struct ContextValue {
  std::uint32_t slot;
  std::uint32_t generation;  ///< of the slot; another generation there means that the owner is gone
  std::uint32_t id;          ///< unique within its process
  std::uint32_t flags;
  std::uint32_t demand_permille;    ///< part of the card its kernels occupy; matters under mps only
  std::uint32_t executed_fraction;  ///< of a ns, in 2^-20
  std::uint64_t memory_bytes;
  std::uint64_t host_bytes;  ///< held by the host while parked
  std::uint64_t submitted_ns;
  std::uint64_t executed_ns;
  std::uint64_t peak_bytes;
  std::uint64_t returns_at;    ///< when the memory of a rowless context comes back; 0 = still held
  std::uint64_t moving_until;  ///< CLOCK_MONOTONIC, ns
  std::uint64_t created_at;    ///< CLOCK_MONOTONIC, ns
  std::uint64_t busy_ns;
  std::uint32_t
      bins[kContextBins];  ///< ns executed per sampling period, indexed like DeviceValue's
  std::uint32_t pid;       ///< as its owner sees it: kept for the accounting of the dead
  std::uint32_t instance;  ///< of a card in MIG mode, from 0
};
static_assert(sizeof(ContextValue) == 136);

/// How the contexts of a card share it.
enum Sharing : std::uint32_t {
  kTurns = 0,  ///< one after the other
  kMps = 1,    ///< they overlap; their rows stand in the MPS list
  kMig = 2,    ///< each has the part of its instance; memory is counted per instance
};

/// Everything about one device that changes while it is used. Times: CLOCK_MONOTONIC, ns.
struct DeviceValue {
  std::uint64_t now;  ///< the model is true for this instant; never moves backwards
  std::uint64_t slice_ns;
  std::uint64_t switch_ns;
  std::uint64_t slice_left;
  std::uint64_t switch_left;
  std::uint32_t context_count;
  std::uint32_t current;  ///< index of the context whose slice it is
  std::uint32_t rate_permille;
  std::uint32_t sharing;    ///< a Sharing
  std::uint32_t instances;  ///< of a card in MIG mode, else 0
  std::uint32_t unused;
  std::uint64_t total_bytes;
  std::uint64_t reserved_bytes;
  std::uint64_t context_bytes;  ///< what a context itself costs
  std::uint64_t foreign_bytes;  ///< of rows without a process here
  std::uint64_t phantom_bytes;  ///< of nobody
  std::uint64_t return_delay_ns;
  std::uint64_t copy_bytes_per_second;
  std::uint64_t out_until;  ///< checkpoint copies are serial per device and direction
  std::uint64_t in_until;
  std::uint64_t busy_ns;
  std::uint64_t switches;   ///< changes of turn so far
  std::uint64_t to_card;    ///< bytes copied so far
  std::uint64_t from_card;  ///< likewise
  std::uint64_t accounted;  ///< number of the next accounting entry
  std::uint64_t bin_ns;
  std::uint64_t last_bin;  ///< number of the newest bin; bin n covers [n, n+1) * bin_ns
  std::uint32_t bins[kDeviceBins];
  ContextValue contexts[kMaxContexts];
};
inline constexpr std::size_t kDeviceHeadBytes = offsetof(DeviceValue, contexts);
static_assert(kDeviceHeadBytes % 8 == 0);
inline constexpr std::size_t kBufferBytes = 36864;
static_assert(sizeof(DeviceValue) <= kBufferBytes);

// DeviceEntry::flags
inline constexpr std::uint32_t kOffTheBus = 1U << 0;
inline constexpr std::uint32_t kResetRequired = 1U << 1;
inline constexpr std::uint32_t kThrottled = 1U << 2;
inline constexpr std::uint32_t kAccounting = 1U << 3;

/// NVML's architecture numbers.
inline constexpr std::uint32_t kAmpere = 7;
inline constexpr std::uint32_t kHopper = 9;

/// What a device is, and the head of its value.
struct alignas(64) DeviceEntry {
  std::atomic<std::uint64_t> head;  ///< version << 20 | buffer
  std::atomic<std::uint32_t> flags;
  std::uint32_t pci_bus;
  std::atomic<std::uint64_t> foreign_head;  ///< version << 20 | which << 16 | rows
  std::uint64_t created_at;
  std::uint64_t return_delay_ns;  ///< as created; heal goes back to it
  std::uint32_t power_idle_mw;
  std::uint32_t power_limit_mw;
  std::uint32_t architecture;
  std::uint32_t instances;  ///< MIG instances; 0: MIG mode is off
  char name[64];
  char uuid[48];
  unsigned char uuid_bytes[16];
};

/// Clock event reasons by their bit in NVML's mask.
inline constexpr unsigned kReasons = 9;
/// HeldDown: set while the reason holds.
inline constexpr std::uint64_t kHolding = std::uint64_t{1} << 63;
/// A sensor that nobody has set follows from what the card does.
inline constexpr std::int32_t kFollows = INT32_MIN;

/// What faults make a card's sensors and counters say. Written only by the gpusim tool.
struct alignas(64) HealthEntry {
  /// Per reason, how long it has held the clocks down, ns: the sum while it does not hold, else
  /// kHolding | (an instant minus the sum before it). One word, so that it is never seen torn.
  std::atomic<std::uint64_t> held_down[kReasons];
  std::atomic<std::int32_t> temperature;         ///< degrees Celsius
  std::atomic<std::int32_t> memory_temperature;  ///< likewise
  std::atomic<std::int32_t> power_mw;
  std::atomic<std::int32_t> recovery_action;  ///< field 230
  std::atomic<std::uint64_t> ecc_corrected;
  std::atomic<std::uint64_t> ecc_uncorrected;
  std::atomic<std::uint32_t> rows_corrected;  ///< remapped rows
  std::atomic<std::uint32_t> rows_uncorrected;
  std::atomic<std::uint32_t> rows_pending;
  std::atomic<std::uint32_t> rows_failed;
  std::atomic<std::uint32_t> pages_single;  ///< retired pages
  std::atomic<std::uint32_t> pages_double;
  std::atomic<std::uint32_t> pages_pending;
  std::atomic<std::uint32_t> pcie_width;
  std::atomic<std::uint32_t> pcie_generation;
  std::atomic<std::uint32_t> pcie_correctable;
  std::atomic<std::uint32_t> pcie_non_fatal;
  std::atomic<std::uint32_t> pcie_fatal;
  std::atomic<std::uint32_t> persistence;
};

// SlotEntry::gate: what the checkpoint calls have made of the process
enum class Gate : std::uint32_t { kOpen = 0, kLocked = 1, kCheckpointed = 2, kFailed = 3 };
// SlotEntry::flags
inline constexpr std::uint32_t kEverRestored = 1U << 0;

/// One attached process.
struct alignas(64) SlotEntry {
  std::atomic<std::uint64_t> owner;  ///< generation << 8 | 1 while attached
  std::atomic<std::uint32_t> wake;   ///< futex: bumped when a wait must be thought over again
  std::atomic<std::uint32_t> gate;
  std::atomic<std::uint32_t>
      sticky;  ///< CUDA error that every call of the process returns; 0 = none
  std::atomic<std::uint32_t> flags;
  std::atomic<std::uint32_t> pid;  ///< as its owner sees it; for people only
  std::atomic<std::uint32_t> uid;
  std::atomic<std::uint64_t> attached_at;
};

// FaultEntry::kind
inline constexpr std::uint32_t kNoFault = 0;
inline constexpr std::uint32_t kReturnCode = 1;
inline constexpr std::uint32_t kHang = 2;
inline constexpr std::uint32_t kCorrupt = 3;  ///< what the call brings has one bit turned over

/// A call that answers otherwise than it should.
struct alignas(64) FaultEntry {
  std::atomic<std::uint32_t> kind;  ///< written last
  std::atomic<std::uint32_t> times_left;
  std::int32_t code;
  std::int32_t device;  ///< -1: any
  std::uint32_t pid;    ///< as the process sees itself; 0: any
  std::uint32_t slot;   ///< kMaxSlots: not by slot
  std::uint32_t generation;
  std::uint64_t delay_ns;
  char function[56];  ///< "*": every function; "cu*", "nvml*": those that begin so
};

/// An event for nvmlEventSetWait, kept in a ring. Complete when number is its own position.
struct EventEntry {
  std::atomic<std::uint64_t> number;
  std::atomic<std::uint32_t> device;
  std::atomic<std::uint32_t> xid;   ///< 0 for other types
  std::atomic<std::uint64_t> type;  ///< one bit of NVML's event mask
};

/// A process that has ended, for NVML accounting. Complete when number is its own position.
struct AccountingEntry {
  std::atomic<std::uint64_t> number;
  std::atomic<std::uint64_t> pid;
  std::atomic<std::uint64_t> started_at;
  std::atomic<std::uint64_t> ended_at;
  std::atomic<std::uint64_t> busy_ns;
  std::atomic<std::uint64_t> peak_bytes;
};

struct ForeignRow {
  std::uint64_t pid;
  std::uint64_t memory_bytes;
  std::uint64_t instance;  ///< kNoInstance outside of MIG mode
};

// Header::flags
inline constexpr std::uint32_t kDriverMismatch = 1U << 0;
inline constexpr std::uint32_t kWithholdV3 = 1U << 1;
inline constexpr std::uint32_t kKillAfterRestoreIsFatal = 1U << 2;
inline constexpr std::uint32_t kHostLost = 1U << 3;
inline constexpr std::uint32_t kDestroyed = 1U << 4;
inline constexpr std::uint32_t kNoRights = 1U << 5;    ///< NVML's callers count as unprivileged
inline constexpr std::uint32_t kHideMemory = 1U << 6;  ///< rows do not tell their memory

struct Header {
  char magic[8];
  std::uint32_t layout_version;
  std::uint32_t device_count;
  char boot_id[40];
  std::uint32_t auto_sync_spins;  ///< what CU_CTX_SCHED_AUTO means
  std::uint32_t driver_version;   ///< as cuDriverGetVersion tells it
  std::uint64_t default_kernel_ns;
  std::uint64_t host_budget_bytes;  ///< for checkpoints
  std::uint64_t created_at;
  std::atomic<std::uint32_t> fault_count;  ///< entries in use; 0 spares every call the search
  std::atomic<std::uint32_t> fault_word;   ///< futex: hung calls wait on it
  std::atomic<std::uint32_t> flags;
  std::atomic<std::uint32_t> stride;        ///< of _v3 process rows: 16, 24 or 32
  std::atomic<std::uint32_t> event_word;    ///< futex
  std::atomic<std::uint64_t> events;        ///< how many there have been
  std::atomic<std::uint64_t> kernel_lines;  ///< sequence number of the next record
};

struct StateFile {
  alignas(4096) Header header;
  alignas(4096) SlotEntry slots[kMaxSlots];
  alignas(4096) DeviceEntry devices[kMaxDevices];
  alignas(4096) HealthEntry health[kMaxDevices];
  alignas(4096) FaultEntry faults[kMaxFaults];
  alignas(4096) EventEntry events[kMaxEvents];
  alignas(4096) AccountingEntry accounting[kMaxDevices][kMaxAccounted];
  alignas(4096) ForeignRow foreign[kMaxDevices][2][kMaxForeign];
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// Buffers a process needs: it may be the head of every device, and needs one more to write into.
constexpr unsigned buffers_per_slot(unsigned devices) {
  return devices + 1;
}
constexpr std::size_t file_bytes(unsigned devices) {
  return sizeof(StateFile) + std::size_t{kMaxSlots} * buffers_per_slot(devices) * kBufferBytes;
}

constexpr std::uint64_t kBufferMask = (1U << 20) - 1;
static_assert(std::uint64_t{kMaxSlots} * (kMaxDevices + 1) <= kBufferMask);

}  // namespace gpuward::gpusim
