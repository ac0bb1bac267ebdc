#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "anchor/tree.h"
#include "control/messages.h"
#include "control/wire.h"

namespace gpuward::anchor {

/// What the one thread works in, too large for the stack: static, so that it is never allocated,
/// and holding nothing between two events, so that it can be given back while the anchor sleeps.
struct Scratch {
  alignas(4096) std::array<std::byte, wire::kMaxSmall + wire::kFrameHeader> record;
  std::array<char, Tree::kMostSeen * kPackedMember> members;  ///< of a record
  alignas(4096) std::array<std::byte, 12288> news;  ///< an AnchorState takes 1 KiB, 10 KiB at most
  alignas(4096) std::array<char, 16 << 10> output;  ///< of the service, one piece
};

inline Scratch scratch;

/// The kernel takes its pages; the next use finds zeros.
inline void give_back_scratch() {
  (void)::madvise(&scratch, sizeof scratch, MADV_DONTNEED);
}

// An anchor sleeps for months with what it needed of the stack when it came up: a third of its own
// memory. Below this frame, and what a leaf may use below that, nothing is needed; what is below
// the stack is not mapped. Never inlined: the frame would be the caller's, with what it still
// needs.
[[gnu::noinline]] inline void give_back_stack() {
  constexpr std::uintptr_t kMost = 256 << 10;
  constexpr std::uintptr_t kFrame = 1024;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const auto end = (here - kFrame) & ~(page - 1);
  (void)::madvise(reinterpret_cast<void*>(end - kMost), kMost, MADV_DONTNEED);
}

}  // namespace gpuward::anchor
