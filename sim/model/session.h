#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "model/device_model.h"
#include "model/fork_mark.h"
#include "model/layout.h"

namespace gpuward::gpusim {

enum class Open {
  kOk,
  kAbsent,        ///< no state file: there is no simulated GPU
  kForbidden,     ///< this user may not write it
  kNotAState,     ///< no state file, or one of another version
  kOtherBoot,     ///< left over from before a reboot
  kShiftedClock,  ///< this time namespace has another CLOCK_MONOTONIC
  kGone,          ///< it has been destroyed
  kFull,          ///< all slots are taken
  kFailed,        ///< the system refused; errno tells
};
const char* describe(Open status);

/// $GPUSIM_STATE, else /dev/shm/gpusim-UID.
std::string state_path();
std::uint64_t monotonic_ns();
/// The boot id of /proc, without a line end; empty where there is none.
std::string boot_id();

/// A context whose process lives (or is seen from here to live).
struct LiveRow {
  ContextValue context;
  pid_t pid;  ///< in our PID namespace; 0: alive, not visible from here
};

/// One process's door to the state file. There is one per process (see process_session), because a
/// POSIX record lock dies when its process closes *any* descriptor of the file, and because locks
/// of one's own do not show in F_GETLK. The file is opened once and never closed again. All members
/// may be called from several threads. In a forked child open() starts afresh.
class Session {
 public:
  /// Opens and maps the file. Calling again is cheap and answers as it is now.
  Open open(const std::string& path);
  Open open() { return open(state_path()); }
  /// Takes a slot of one's own, which changing anything needs. Calling again is cheap.
  Open attach();

  bool is_open() const { return state_ != nullptr; }
  /// True in a forked child that has not called open() itself.
  bool is_inherited() const { return state_ != nullptr && mark_.in_child(); }
  bool is_attached() const { return slot_ < kMaxSlots; }
  StateFile& state() const { return *state_; }
  unsigned device_count() const { return state_->header.device_count; }
  unsigned slot() const { return slot_; }
  std::uint32_t generation() const { return generation_; }
  SlotEntry& own_slot() const { return state_->slots[slot_]; }
  /// False when the slot has passed to another process: this one closed all its descriptors.
  bool owns_slot() const;

  /// Advances the device to now and publishes what @p edit made of it. @p edit may run several
  /// times on fresh copies, so it must have no other effect than on its argument and on what it
  /// returns. Needs a slot.
  template <class Edit>
  auto change(unsigned device, Edit edit) {
    const std::lock_guard guard(mutex_);
    for (;;) {
      const std::uint64_t head = read(device, scratch_);
      advance(scratch_, monotonic_ns());
      auto result = edit(scratch_);
      if (publish(device, head, scratch_)) return result;
    }
  }

  /// Calls @p view with the device as it is now; publishes nothing.
  template <class View>
  auto look(unsigned device, View view) {
    const std::lock_guard guard(mutex_);
    read(device, scratch_);
    advance(scratch_, monotonic_ns());
    return view(scratch_);
  }

  /// Ends what dead processes left on @p device and tells those who wait.
  /// @return the contexts that have a row, with the pid as seen from here.
  std::vector<LiveRow> sweep(unsigned device);
  /// The same, or what a sweep at most @p fresh ns ago found: asking the kernel whether a process
  /// lives costs 5 us and more where thousands are attached, and a monitor asks several things
  /// about a card at a time. Lists of processes say that somebody lives, and allow 2 ms.
  std::vector<LiveRow> sweep_recent(unsigned device, std::uint64_t fresh = 20'000'000);
  /// Looks after one other context of @p device, at most every 10 ms: what every change does.
  void sweep_a_little(unsigned device, std::uint64_t now);

  /// Does the owner of that slot live? @p pid: in our PID namespace, 0 = not visible.
  bool is_alive(unsigned slot, pid_t* pid = nullptr) const;
  /// Does anybody, the owner or a forked child of it, still hold its memory?
  bool is_memory_held(unsigned slot) const;
  /// The slot of that process (as seen from here), or kMaxSlots.
  unsigned slot_of(pid_t pid) const;
  std::uint32_t generation_of(unsigned slot) const;

  void wake_slot(unsigned slot);
  /// Everyone with a context on @p device thinks again.
  void wake_device(unsigned device);
  void wake_all();

  /// One gpusim tool at a time edits the parts that only it writes. Blocks. Released by
  /// unlock_tools.
  bool lock_tools();
  void unlock_tools();
  int descriptor() const { return fd_; }

 private:
  Open map_file(const std::string& path);
  bool claim(unsigned slot);
  void judge_end(std::uint32_t flags, std::uint32_t gate);
  std::uint64_t read(unsigned device, DeviceValue& value) const;
  bool publish(unsigned device, std::uint64_t head, DeviceValue& value);
  std::uint64_t free_buffer() const;
  std::uint64_t* buffer(std::uint64_t index) const;
  bool has_ended(const ContextValue& context, pid_t* pid) const;
  void end(unsigned device, const std::vector<ContextValue>& gone);
  void note_end(unsigned device, std::uint64_t number, const ContextValue& context);
  void free_slot(const ContextValue& context);

  std::mutex mutex_;
  StateFile* state_ = nullptr;
  int fd_ = -1;
  ForkMark mark_;
  unsigned slot_ = kMaxSlots;
  std::uint32_t generation_ = 0;
  std::atomic<std::uint64_t> next_sweep_{0};
  std::atomic<std::uint32_t> sweep_at_{0};
  struct Recent {
    std::uint64_t at = 0;
    std::vector<LiveRow> rows;
  };
  std::mutex recent_mutex_;
  std::vector<Recent> recent_;  ///< per device
  DeviceValue scratch_;
};

/// Waits until *@p word is no longer @p seen, somebody wakes it, or the deadline (CLOCK_MONOTONIC,
/// ns; kNever = none) has come. With a timer slack of 1 ns while it waits: the default of 50 us
/// would double what a wake-up costs.
void wait_on(std::atomic<std::uint32_t>& word, std::uint32_t seen, std::uint64_t deadline);
void wake_word(std::atomic<std::uint32_t>& word);

}  // namespace gpuward::gpusim
