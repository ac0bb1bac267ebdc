#include "model/session.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

namespace gpuward::gpusim {
namespace {

struct flock lock_of(long byte, short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

/// Reads a small file of /proc. Plain read(2): these libraries live in other people's processes.
std::string read_proc(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  char text[512];
  // A file of /proc answers from memory. NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection)
  const ssize_t got = ::read(fd, text, sizeof text);
  ::close(fd);
  return got > 0 ? std::string(text, static_cast<std::size_t>(got)) : std::string();
}

/// Words are copied one by one as relaxed atomics: a copy may be torn while its source is being
/// reused (the head tells), but it must not be a data race.
void copy_out(const std::uint64_t* from, void* to, std::size_t bytes) {
  auto* words = static_cast<std::uint64_t*>(to);
  for (std::size_t i = 0; i < bytes / 8; ++i) {
    words[i] = std::atomic_ref(const_cast<std::uint64_t&>(from[i])).load(std::memory_order_relaxed);
  }
}
void copy_in(const void* from, std::uint64_t* to, std::size_t bytes) {
  const auto* words = static_cast<const std::uint64_t*>(from);
  for (std::size_t i = 0; i < bytes / 8; ++i) {
    std::atomic_ref(to[i]).store(words[i], std::memory_order_relaxed);
  }
}

std::size_t contexts_bytes(const DeviceValue& value) {
  return std::size_t{value.context_count} * sizeof(ContextValue);
}

/// The offset that a time namespace adds to CLOCK_MONOTONIC is not ours to undo.
bool is_clock_shifted() {
  const std::string offsets = read_proc("/proc/self/timens_offsets");
  const auto at = offsets.find("monotonic");
  if (at == std::string::npos) return false;
  const char* text = offsets.c_str() + at + std::strlen("monotonic");
  char* end = nullptr;
  const long seconds = std::strtol(text, &end, 10);
  const long nanoseconds = std::strtol(end, nullptr, 10);
  return seconds != 0 || nanoseconds != 0;
}

// Fences are what seqlocks are made of, but ThreadSanitizer does not know them; all data is atomic,
// so it loses nothing where they are left out.
void fence([[maybe_unused]] std::memory_order order) {
#if !defined(__SANITIZE_THREAD__)
  std::atomic_thread_fence(order);
#endif
}

}  // namespace

const char* describe(Open status) {
  switch (status) {
    case Open::kOk:
      return "ok";
    case Open::kAbsent:
      return "there is no simulated GPU (no state file); see: gpusim create";
    case Open::kForbidden:
      return "this user may not write the state file";
    case Open::kNotAState:
      return "not a state file of this version of gpusim";
    case Open::kOtherBoot:
      return "the state file is from before a reboot; create it anew";
    case Open::kShiftedClock:
      return "this time namespace shifts CLOCK_MONOTONIC";
    case Open::kGone:
      return "the simulated GPU has been destroyed";
    case Open::kFull:
      return "too many processes use the simulated GPU";
    case Open::kFailed:
      return "the system refused";
  }
  return "unknown";
}

std::string state_path() {
  const char* named = std::getenv("GPUSIM_STATE");
  if (named != nullptr && *named != 0) return named;
  return "/dev/shm/gpusim-" + std::to_string(::getuid());
}

std::uint64_t monotonic_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

std::string boot_id() {
  std::string id = read_proc("/proc/sys/kernel/random/boot_id");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

Open Session::open(const std::string& path) {
  const std::lock_guard guard(mutex_);
  if (state_ != nullptr && mark_.in_child()) {
    // The descriptor of the parent stays open: it is what holds the parent's memory. The slot is
    // the parent's; this process starts with a description and a mapping of its own.
    state_ = nullptr;
    fd_ = -1;
    slot_ = kMaxSlots;
    recent_.clear();
  }
  if (state_ == nullptr) {
    if (const Open status = map_file(path); status != Open::kOk) return status;
    mark_.set();
  }
  if ((state_->header.flags.load(std::memory_order_relaxed) & kDestroyed) != 0) {
    return Open::kGone;
  }
  return Open::kOk;
}

Open Session::map_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return Open::kAbsent;
    return errno == EACCES || errno == EPERM || errno == EROFS ? Open::kForbidden : Open::kFailed;
  }
  // No other descriptor of this file can be open here, so closing this one on the way out is safe.
  const auto refuse = [fd](Open status) {
    ::close(fd);
    return status;
  };
  struct stat info;
  if (::fstat(fd, &info) != 0) return refuse(Open::kFailed);
  if (static_cast<std::size_t>(info.st_size) < sizeof(StateFile)) return refuse(Open::kNotAState);
  void* at = ::mmap(nullptr, static_cast<std::size_t>(info.st_size), PROT_READ | PROT_WRITE,
                    MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return refuse(Open::kFailed);
  auto* state = static_cast<StateFile*>(at);
  const auto refuse_mapped = [&](Open status) {
    ::munmap(at, static_cast<std::size_t>(info.st_size));
    return refuse(status);
  };
  const Header& header = state->header;
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 ||
      header.layout_version != kLayoutVersion || header.device_count > kMaxDevices ||
      static_cast<std::size_t>(info.st_size) < file_bytes(header.device_count)) {
    return refuse_mapped(Open::kNotAState);
  }
  const std::string boot = boot_id();
  if (!boot.empty() && boot != header.boot_id) return refuse_mapped(Open::kOtherBoot);
  if (is_clock_shifted()) return refuse_mapped(Open::kShiftedClock);
  // Low numbers are what a daemon closes and reopens without looking.
  const int high = ::fcntl(fd, F_DUPFD_CLOEXEC, 64);
  if (high >= 0) ::close(fd);
  fd_ = high >= 0 ? high : fd;
  state_ = state;
  return Open::kOk;
}

bool Session::claim(unsigned slot) {
  struct flock life = lock_of(life_byte(slot), F_WRLCK);
  if (::fcntl(fd_, F_SETLK, &life) != 0) return false;
  struct flock memory = lock_of(memory_byte(slot), F_WRLCK);
  if (::fcntl(fd_, F_OFD_SETLK, &memory) != 0) {
    // The owner is gone, but a forked child of it still holds its memory.
    life.l_type = F_UNLCK;
    ::fcntl(fd_, F_SETLK, &life);
    return false;
  }
  SlotEntry& entry = state_->slots[slot];
  const std::uint64_t before = entry.owner.load();
  if ((before & 1) != 0) judge_end(entry.flags.load(), entry.gate.load());
  generation_ = static_cast<std::uint32_t>(before >> 8) + 1;
  entry.gate.store(0);
  entry.sticky.store(0);
  entry.flags.store(0);
  entry.pid.store(static_cast<std::uint32_t>(::getpid()));
  entry.uid.store(::getuid());
  entry.attached_at.store(monotonic_ns());
  entry.owner.store(std::uint64_t{generation_} << 8 | 1);
  slot_ = slot;
  return true;
}

Open Session::attach() {
  const std::lock_guard guard(mutex_);
  if (is_attached()) return Open::kOk;
  // First those that were left in order, then those whose owners died unnoticed.
  for (const bool any : {false, true}) {
    for (unsigned slot = 0; slot < kMaxSlots && !is_attached(); ++slot) {
      if (any || (state_->slots[slot].owner.load() & 1) == 0) claim(slot);
    }
  }
  // What dead processes left is found by whoever looks at its device or finds it full.
  return is_attached() ? Open::kOk : Open::kFull;
}

bool Session::owns_slot() const {
  return state_->slots[slot_].owner.load(std::memory_order_relaxed) ==
         (std::uint64_t{generation_} << 8 | 1);
}

std::uint64_t* Session::buffer(std::uint64_t index) const {
  auto* pool = reinterpret_cast<char*>(state_) + sizeof(StateFile);
  return reinterpret_cast<std::uint64_t*>(pool + index * kBufferBytes);
}

std::uint64_t Session::read(unsigned device, DeviceValue& value) const {
  const std::atomic<std::uint64_t>& head = state_->devices[device].head;
  for (;;) {
    const std::uint64_t seen = head.load(std::memory_order_acquire);
    const std::uint64_t* from = buffer(seen & kBufferMask);
    copy_out(from, &value, kDeviceHeadBytes);
    if (value.context_count <= kMaxContexts) {
      copy_out(from + kDeviceHeadBytes / 8, value.contexts, contexts_bytes(value));
      fence(std::memory_order_acquire);
      if (head.load(std::memory_order_acquire) == seen) return seen;
    }
  }
}

std::uint64_t Session::free_buffer() const {
  const unsigned mine = buffers_per_slot(device_count());
  const std::uint64_t first = std::uint64_t{slot_} * mine;
  for (std::uint64_t index = first; index < first + mine; ++index) {
    bool is_head = false;
    for (unsigned device = 0; device < device_count() && !is_head; ++device) {
      const auto head = state_->devices[device].head.load(std::memory_order_acquire);
      is_head = (head & kBufferMask) == index;
    }
    if (!is_head) return index;
  }
  std::abort();  // one buffer more than there are devices: at least one is free
}

bool Session::publish(unsigned device, std::uint64_t head, DeviceValue& value) {
  // Without its slot a process must not write: the buffers belong to somebody else now.
  if (!owns_slot()) return true;
  const std::uint64_t index = free_buffer();
  fence(std::memory_order_release);  // pairs with read(): reused words are seen only after the head
  std::uint64_t* to = buffer(index);
  copy_in(&value, to, kDeviceHeadBytes);
  copy_in(value.contexts, to + kDeviceHeadBytes / 8, contexts_bytes(value));
  const std::uint64_t next = ((head >> 20) + 1) << 20 | index;
  return state_->devices[device].head.compare_exchange_strong(head, next,
                                                              std::memory_order_acq_rel);
}

bool Session::is_alive(unsigned slot, pid_t* pid) const {
  if (slot == slot_) {
    if (pid != nullptr) *pid = ::getpid();
    return true;
  }
  struct flock lock = lock_of(life_byte(slot), F_WRLCK);
  if (::fcntl(fd_, F_GETLK, &lock) != 0) return true;
  if (pid != nullptr) *pid = lock.l_type == F_UNLCK ? 0 : lock.l_pid;
  return lock.l_type != F_UNLCK;
}

bool Session::is_memory_held(unsigned slot) const {
  struct flock lock = lock_of(memory_byte(slot), F_WRLCK);
  if (::fcntl(fd_, F_GETLK, &lock) != 0) return true;
  return lock.l_type != F_UNLCK;
}

std::uint32_t Session::generation_of(unsigned slot) const {
  return static_cast<std::uint32_t>(state_->slots[slot].owner.load() >> 8);
}

unsigned Session::slot_of(pid_t pid) const {
  for (unsigned slot = 0; slot < kMaxSlots; ++slot) {
    if ((state_->slots[slot].owner.load() & 1) == 0) continue;
    pid_t owner = 0;
    if (is_alive(slot, &owner) && owner == pid) return slot;
  }
  return kMaxSlots;
}

bool Session::has_ended(const ContextValue& context, pid_t* pid) const {
  const bool same = generation_of(context.slot) == context.generation;
  if ((context.flags & kRowless) == 0) return !same || !is_alive(context.slot, pid);
  return context.returns_at == 0 && !(same && is_memory_held(context.slot));
}

std::vector<LiveRow> Session::sweep(unsigned device) {
  std::vector<ContextValue> all = look(device, [](const DeviceValue& value) {
    return std::vector<ContextValue>(value.contexts, value.contexts + value.context_count);
  });
  std::vector<LiveRow> rows;
  std::vector<ContextValue> gone;
  for (const ContextValue& context : all) {
    pid_t pid = 0;
    if (has_ended(context, &pid)) {
      gone.push_back(context);
    } else if ((context.flags & (kRowless | kLost | kParked)) == 0) {
      rows.push_back({context, pid});
    }
  }
  if (!gone.empty()) end(device, gone);
  const std::lock_guard guard(recent_mutex_);
  recent_.resize(kMaxDevices);
  recent_[device] = {monotonic_ns(), rows};
  return rows;
}

std::vector<LiveRow> Session::sweep_recent(unsigned device, std::uint64_t fresh) {
  {
    const std::lock_guard guard(recent_mutex_);
    if (device < recent_.size() && recent_[device].at + fresh > monotonic_ns()) {
      return recent_[device].rows;
    }
  }
  return sweep(device);
}

void Session::end(unsigned device, const std::vector<ContextValue>& gone) {
  if (!is_attached() && attach() != Open::kOk) return;
  struct Ended {
    std::uint64_t number;
    ContextValue context;
  };
  std::vector<bool> held(gone.size());
  for (std::size_t i = 0; i < gone.size(); ++i) {
    held[i] = generation_of(gone[i].slot) == gone[i].generation && is_memory_held(gone[i].slot);
  }
  const auto ended = change(device, [&](DeviceValue& value) {
    std::vector<Ended> entries;
    for (std::size_t i = 0; i < gone.size(); ++i) {
      const auto at = find_context(value, gone[i].slot, gone[i].generation, gone[i].id);
      if (at == value.context_count || value.contexts[at].returns_at != 0) continue;
      if ((value.contexts[at].flags & kRowless) == 0) {
        entries.push_back({value.accounted++, value.contexts[at]});
      }
      end_owner(value, at, held[i]);
    }
    return entries;
  });
  for (const Ended& entry : ended) {
    note_end(device, entry.number, entry.context);
    free_slot(entry.context);
  }
  wake_device(device);
}

void Session::note_end(unsigned device, std::uint64_t number, const ContextValue& context) {
  AccountingEntry& entry = state_->accounting[device][number % kMaxAccounted];
  entry.number.store(kNever);
  entry.pid.store(context.pid);
  entry.started_at.store(context.created_at);
  entry.ended_at.store(monotonic_ns());
  entry.busy_ns.store(context.busy_ns);
  entry.peak_bytes.store(context.peak_bytes);
  entry.number.store(number);
}

void Session::free_slot(const ContextValue& context) {
  if (is_alive(context.slot)) return;  // only a context of a living process has ended
  SlotEntry& entry = state_->slots[context.slot];
  const std::uint32_t flags = entry.flags.load();
  const std::uint32_t gate = entry.gate.load();
  std::uint64_t owner = std::uint64_t{context.generation} << 8 | 1;
  if (!entry.owner.compare_exchange_strong(owner, owner & ~std::uint64_t{1})) return;
  judge_end(flags, gate);
}

/// A process has ended: if it was restored once and not parked again first, some real drivers hang
/// the host. As a fault, so do we.
void Session::judge_end(std::uint32_t flags, std::uint32_t gate) {
  if ((state_->header.flags.load() & kKillAfterRestoreIsFatal) == 0) return;
  if ((flags & kEverRestored) == 0 || gate == static_cast<std::uint32_t>(Gate::kCheckpointed))
    return;
  state_->header.flags.fetch_or(kHostLost);
  wake_all();
}

void Session::sweep_a_little(unsigned device, std::uint64_t now) {
  constexpr std::uint64_t kEvery = 10'000'000;
  std::uint64_t due = next_sweep_.load(std::memory_order_relaxed);
  if (now < due || !next_sweep_.compare_exchange_strong(due, now + kEvery)) return;
  const std::uint32_t turn = sweep_at_.fetch_add(1);
  ContextValue context;
  const bool any = look(device, [&](const DeviceValue& value) {
    if (value.context_count == 0) return false;
    context = value.contexts[turn % value.context_count];
    return true;
  });
  if (any && has_ended(context, nullptr)) end(device, {context});
}

void Session::wake_slot(unsigned slot) {
  SlotEntry& entry = state_->slots[slot];
  entry.wake.fetch_add(1);
  wake_word(entry.wake);
}

void Session::wake_device(unsigned device) {
  std::vector<std::uint32_t> slots = look(device, [](const DeviceValue& value) {
    std::vector<std::uint32_t> found;
    found.reserve(value.context_count);
    for (std::uint32_t i = 0; i < value.context_count; ++i) found.push_back(value.contexts[i].slot);
    return found;
  });
  for (const std::uint32_t slot : slots) wake_slot(slot);
}

void Session::wake_all() {
  for (unsigned slot = 0; slot < kMaxSlots; ++slot) {
    if ((state_->slots[slot].owner.load() & 1) != 0) wake_slot(slot);
  }
  state_->header.fault_word.fetch_add(1);
  wake_word(state_->header.fault_word);
}

bool Session::lock_tools() {
  struct flock lock = lock_of(kToolByte, F_WRLCK);
  while (::fcntl(fd_, F_OFD_SETLKW, &lock) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

void Session::unlock_tools() {
  struct flock lock = lock_of(kToolByte, F_UNLCK);
  ::fcntl(fd_, F_OFD_SETLK, &lock);
}

void wait_on(std::atomic<std::uint32_t>& word, std::uint32_t seen, std::uint64_t deadline) {
  const timespec until = {static_cast<time_t>(deadline / 1'000'000'000U),
                          static_cast<long>(deadline % 1'000'000'000U)};
  const int slack = ::prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
  const bool tighten = deadline != kNever && slack > 1;
  if (tighten) ::prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  const int caller_errno = errno;
  ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, seen, deadline == kNever ? nullptr : &until,
            nullptr, FUTEX_BITSET_MATCH_ANY);
  errno = caller_errno;
  if (tighten) ::prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(slack), 0, 0, 0);
}

void wake_word(std::atomic<std::uint32_t>& word) {
  const int caller_errno = errno;
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  errno = caller_errno;
}

}  // namespace gpuward::gpusim
