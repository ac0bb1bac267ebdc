#include "model/faults.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace gpuward::gpusim {
namespace {

/// "cuMemAlloc" names cuMemAlloc and cuMemAlloc_v2, "cu*" all that begin with cu.
bool names(const char* pattern, const char* function) {
  const std::size_t length = ::strnlen(pattern, sizeof(FaultEntry::function));
  if (length > 0 && pattern[length - 1] == '*') {
    return std::strncmp(pattern, function, length - 1) == 0;
  }
  if (std::strncmp(pattern, function, length) != 0) return false;
  return function[length] == 0 || std::strncmp(function + length, "_v", 2) == 0;
}

bool concerns_us(const FaultEntry& fault, const Session& session) {
  if (fault.slot < kMaxSlots) {
    return fault.slot == session.slot() && fault.generation == session.generation();
  }
  return fault.pid == 0 || fault.pid == static_cast<std::uint32_t>(::getpid());
}

/// Uses up one of the times left. False when there was none.
bool take_one(FaultEntry& fault) {
  std::uint32_t left = fault.times_left.load();
  while (left != 0 && left != kAlways) {
    if (fault.times_left.compare_exchange_weak(left, left - 1)) return true;
  }
  return left == kAlways;
}

bool holds(const FaultEntry& fault, const Session& session, const char* function, int device) {
  if (fault.device >= 0 && fault.device != device) return false;
  return names(fault.function, function) && concerns_us(fault, session);
}

void hang(Session& session, FaultEntry& fault) {
  std::atomic<std::uint32_t>& word = session.state().header.fault_word;
  for (;;) {
    const std::uint32_t seen = word.load();
    if (fault.kind.load() != kHang) return;
    wait_on(word, seen, kNever);
  }
}

}  // namespace

std::optional<int> apply_faults(Session& session, const char* function, int device) {
  StateFile& state = session.state();
  if (state.header.fault_count.load(std::memory_order_acquire) == 0) return std::nullopt;
  for (FaultEntry& fault : state.faults) {
    const std::uint32_t kind = fault.kind.load(std::memory_order_acquire);
    if (kind == kNoFault || kind == kCorrupt) continue;
    if (!holds(fault, session, function, device) || !take_one(fault)) continue;
    if (fault.delay_ns > 0) {
      std::atomic<std::uint32_t>& word = state.header.fault_word;
      wait_on(word, word.load(), monotonic_ns() + fault.delay_ns);
    }
    if (kind == kHang) {
      hang(session, fault);
    } else if (fault.code != 0) {
      return fault.code;
    }
  }
  return std::nullopt;
}

bool corrupts(Session& session, const char* function, int device) {
  StateFile& state = session.state();
  if (state.header.fault_count.load(std::memory_order_acquire) == 0) return false;
  return std::ranges::any_of(state.faults, [&](FaultEntry& fault) {
    return fault.kind.load(std::memory_order_acquire) == kCorrupt &&
           holds(fault, session, function, device) && take_one(fault);
  });
}

void wait_while_host_lost(Session& session) {
  Header& header = session.state().header;
  for (;;) {
    const std::uint32_t seen = header.fault_word.load();
    if ((header.flags.load() & kHostLost) == 0) return;
    wait_on(header.fault_word, seen, kNever);
  }
}

}  // namespace gpuward::gpusim
