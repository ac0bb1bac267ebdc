#include "gpu/rows.h"

#include <cstring>

namespace gpuward::gpu {

std::size_t row_stride(std::span<const std::byte> buffer, std::uint32_t count,
                       std::size_t by_symbol) {
  if (count == 0) return by_symbol;
  std::size_t written = buffer.size();
  while (written > 0 && buffer[written - 1] == kUntouched) --written;
  for (const std::size_t stride : {std::size_t{16}, std::size_t{24}, std::size_t{32}}) {
    if (written == stride * count) return stride;
  }
  return by_symbol;
}

std::size_t stride_by_symbol(int version, bool has_conf_compute, bool has_detail_list) {
  if (version == 1) return 16;
  return version == 3 && has_conf_compute && !has_detail_list ? 32 : 24;
}

std::vector<RawRow> read_rows(std::span<const std::byte> buffer, std::uint32_t count,
                              std::size_t stride) {
  std::vector<RawRow> rows;
  if (stride < 16) return rows;
  for (std::uint32_t n = 0; n < count && buffer.size() >= stride;
       ++n, buffer = buffer.subspan(stride)) {
    RawRow row;
    std::memcpy(&row.pid, buffer.data() + offsetof(abi::ProcessDetail, pid), sizeof row.pid);
    std::memcpy(&row.memory, buffer.data() + offsetof(abi::ProcessDetail, memory),
                sizeof row.memory);
    if (stride >= 24) {
      std::memcpy(&row.gpu_instance, buffer.data() + offsetof(abi::ProcessDetail, gpu_instance),
                  sizeof row.gpu_instance);
      std::memcpy(&row.compute_instance,
                  buffer.data() + offsetof(abi::ProcessDetail, compute_instance),
                  sizeof row.compute_instance);
    }
    rows.push_back(row);
  }
  return rows;
}

bool plausible(const RawRow& row, std::uint32_t pid_max, Bytes board) {
  if (row.pid == 0 || row.pid > pid_max) return false;
  return row.memory == abi::kNoMemory || board.count == 0 || row.memory <= board.count;
}

std::optional<Bytes> memory_of(const RawRow& row) {
  if (row.memory == abi::kNoMemory) return std::nullopt;
  return Bytes{row.memory};
}

}  // namespace gpuward::gpu
