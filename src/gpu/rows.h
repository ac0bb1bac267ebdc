#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/units.h"
#include "gpu/nvml_abi.h"

// The rows of the driver's process lists. Drivers disagree about a row's length under one and the
// same symbol (16, 24 or 32 bytes), so it is measured. Nothing here makes a system call.

namespace gpuward::gpu {

/// What a list's buffer is filled with before the driver writes it. No field ends with this byte:
/// the last byte of a row is the high byte of a small or an all-ones number.
inline constexpr std::byte kUntouched{0xA5};

/// Bytes per row, from what the driver has written.
/// @param buffer     32 bytes per row of the room that was offered, filled with kUntouched before
/// @param count      the rows that the driver says it wrote
/// @param by_symbol  the answer when the buffer shows no exact fit: see stride_by_symbol
std::size_t row_stride(std::span<const std::byte> buffer, std::uint32_t count,
                       std::size_t by_symbol);

/// The length that the set of symbols tells. 32 was under _v3 only in drivers 535.43 to 535.86:
/// those have nvmlDeviceGetConfComputeMemSizeInfo but not yet
/// nvmlDeviceGetRunningProcessDetailList.
/// @param version  of the list's symbol: 3, 2, or 1 without a suffix
std::size_t stride_by_symbol(int version, bool has_conf_compute, bool has_detail_list);

/// One row, not judged yet.
struct RawRow {
  std::uint32_t pid = 0;
  std::uint64_t memory = 0;  ///< bytes; abi::kNoMemory: the driver does not say
  std::uint32_t gpu_instance = abi::kNoInstance;
  std::uint32_t compute_instance = abi::kNoInstance;
  std::uint8_t kind = 0;  ///< GpuProcess::kind; no part of what the driver writes
};

/// Takes @p count rows of @p stride bytes apart; fewer if the buffer ends before.
std::vector<RawRow> read_rows(std::span<const std::byte> buffer, std::uint32_t count,
                              std::size_t stride);

/// Can this be a row at all? A pid of 0 or above @p pid_max, or more memory than the whole card
/// (@p board; 0: unknown) means that something else was read than what the driver wrote.
bool plausible(const RawRow& row, std::uint32_t pid_max, Bytes board);

/// nullopt when the driver does not say.
std::optional<Bytes> memory_of(const RawRow& row);

}  // namespace gpuward::gpu
