// What the driver's library writes into our buffers, and texts about its cards.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "gpu/busy.h"
#include "gpu/fields.h"
#include "gpu/rows.h"
#include "gpu/signals.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gpuward;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto id = gpu::sysfs_bus_id(text); id.find('/') != std::string::npos || id == "..")
    std::abort();  // it becomes part of a path
  (void)gpu::module_version_in(text);
  if (size < 8) return 0;
  std::uint32_t count = 0;
  std::memcpy(&count, data, sizeof count);
  const auto by_symbol = static_cast<std::size_t>(data[4]);
  const std::int32_t type = data[5] % 9;
  const auto rest = std::as_bytes(std::span(data + 8, size - 8));
  const std::size_t stride = gpu::row_stride(rest, count, by_symbol);
  for (const auto& row : gpu::read_rows(rest, count, stride)) {
    if (gpu::plausible(row, 4096, 1_GiB) &&
        (row.pid == 0 || row.pid > 4096 || (gpu::memory_of(row) && *gpu::memory_of(row) > 1_GiB)))
      std::abort();
  }
  std::vector<gpu::abi::Sample> samples(rest.size() / sizeof(gpu::abi::Sample));
  if (!samples.empty())
    std::memcpy(samples.data(), rest.data(), samples.size() * sizeof(gpu::abi::Sample));
  if (const auto mean = gpu::mean_of(samples, type, count); mean && mean->percent > 100)
    std::abort();
  std::vector<gpu::Share> shares(rest.size() / sizeof(gpu::Share));
  if (!shares.empty())
    std::memcpy(static_cast<void*>(shares.data()), rest.data(), shares.size() * sizeof(gpu::Share));
  for (const auto& share : gpu::newest_shares(std::move(shares))) {
    if (share.sm > 100) std::abort();
  }
  return 0;
}
