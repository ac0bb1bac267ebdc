#include <algorithm>
#include <cstring>

#include "cuda/driver.h"
#include "model/faults.h"

namespace gpuward::gpusim {
namespace {

constexpr std::uint64_t kGrain = 512;
/// Copies up to this keep their bytes, so that a small round trip reads back what it wrote.
constexpr std::uint64_t kKeptCopy = 1 << 20;
constexpr std::uint64_t kPage = 64 << 10;
constexpr std::uint64_t kKeptInAll = 64 << 20;

CUresult charge(Context& context, std::uint64_t bytes) {
  if (const CUresult code = device_problem(context.device); code != 0) return code;
  Session& session = process_session();
  return session.change(context.device, [&](DeviceValue& device) -> CUresult {
    const auto index = find_context(device, session.slot(), session.generation(), context.id);
    if (index == device.context_count) return kContextIsDestroyed;
    ContextValue& own = device.contexts[index];
    if (free_bytes(device, own.instance) < bytes) return kOutOfMemory;
    own.memory_bytes += bytes;
    own.peak_bytes = std::max(own.peak_bytes, own.memory_bytes);
    return kSuccess;
  });
}

void give_back(Context& context, std::uint64_t bytes) {
  Session& session = process_session();
  session.change(context.device, [&](DeviceValue& device) {
    const auto index = find_context(device, session.slot(), session.generation(), context.id);
    if (index == device.context_count) return 0;
    ContextValue& own = device.contexts[index];
    own.memory_bytes -= std::min(own.memory_bytes, bytes);
    return 0;
  });
}

/// The allocation that holds [address, address + bytes), or end(). Under the driver's mutex.
auto find_allocation(Driver& self, CUdeviceptr address, std::uint64_t bytes) {
  auto after = self.allocations.upper_bound(address);
  if (after == self.allocations.begin()) return self.allocations.end();
  --after;
  const std::uint64_t offset = address - after->first;
  if (offset > after->second.size || bytes > after->second.size - offset) {
    return self.allocations.end();
  }
  return after;
}

/// Calls use(page bytes or nullptr, offset in the page, done so far, count) for each page touched.
template <class Use>
void over_pages(Driver& self, Allocation& allocation, std::uint64_t offset, std::uint64_t bytes,
                bool create, Use use) {
  std::uint64_t done = 0;
  while (done < bytes) {
    const std::uint64_t at = offset + done;
    const std::uint64_t in_page = at % kPage;
    const std::uint64_t count = std::min(bytes - done, kPage - in_page);
    auto page = allocation.pages.find(at / kPage);
    if (page == allocation.pages.end() && create && self.kept_bytes + kPage <= kKeptInAll) {
      self.kept_bytes += kPage;
      auto zeroed = std::make_unique<unsigned char[]>(kPage);
      page = allocation.pages.emplace(at / kPage, std::move(zeroed)).first;
    }
    use(page == allocation.pages.end() ? nullptr : page->second.get(), in_page, done, count);
    done += count;
  }
}

CUresult store(CUdeviceptr to, const unsigned char* from, int fill, std::uint64_t bytes) {
  Driver& self = driver();
  const std::lock_guard guard(self.mutex);
  const auto found = find_allocation(self, to, bytes);
  if (found == self.allocations.end()) return kInvalidValue;
  if (bytes > kKeptCopy) return kSuccess;
  over_pages(self, found->second, to - found->first, bytes, true,
             [&](unsigned char* page, std::uint64_t at, std::uint64_t done, std::uint64_t count) {
               if (page == nullptr) return;
               if (from != nullptr) {
                 std::memcpy(page + at, from + done, count);
               } else {
                 std::memset(page + at, fill, count);
               }
             });
  return kSuccess;
}

CUresult fetch(unsigned char* to, CUdeviceptr from, std::uint64_t bytes) {
  Driver& self = driver();
  const std::lock_guard guard(self.mutex);
  const auto found = find_allocation(self, from, bytes);
  if (found == self.allocations.end()) return kInvalidValue;
  if (bytes > kKeptCopy) return kSuccess;
  over_pages(
      self, found->second, from - found->first, bytes, false,
      [&](const unsigned char* page, std::uint64_t at, std::uint64_t done, std::uint64_t count) {
        if (page == nullptr) {
          std::memset(to + done, 0, count);
        } else {
          std::memcpy(to + done, page + at, count);
        }
      });
  return kSuccess;
}

/// The time of a copy goes into the context's queue like a kernel's.
CUresult submit_copy(Stream* handle, std::uint64_t bytes, bool wait,
                     std::uint64_t DeviceValue::* counter = nullptr) {
  Context* context = nullptr;
  Stream* stream = nullptr;
  if (const CUresult code = resolve_stream(handle, context, stream); code != 0) return code;
  const std::uint64_t speed = process_session().look(
      context->device, [](const DeviceValue& device) { return device.copy_bytes_per_second; });
  const auto ns = static_cast<std::uint64_t>(
      static_cast<double>(bytes) * 1e9 / static_cast<double>(std::max<std::uint64_t>(speed, 1)));
  std::uint64_t marker = 0;
  if (const CUresult code = submit(*context, ns, marker); code != 0) return code;
  note_work(stream, marker);
  if (counter != nullptr) {
    process_session().change(context->device,
                             [&](DeviceValue& device) { return device.*counter += bytes; });
  }
  return wait ? wait_for(*context, marker) : kSuccess;
}

CUresult copy_in(CUdeviceptr to, const void* from, std::size_t bytes, Stream* stream, bool wait) {
  if (from == nullptr && bytes > 0) return kInvalidValue;
  if (const CUresult code = store(to, static_cast<const unsigned char*>(from), 0, bytes);
      code != 0) {
    return code;
  }
  return submit_copy(stream, bytes, wait, &DeviceValue::to_card);
}

/// Silent corruption: the copy succeeds, and one bit in the middle of it is wrong.
void spoil(unsigned char* copied, std::uint64_t bytes, Stream* handle) {
  Context* context = nullptr;
  Stream* stream = nullptr;
  if (bytes == 0 || resolve_stream(handle, context, stream) != kSuccess) return;
  if (corrupts(process_session(), "cuMemcpyDtoH", static_cast<int>(context->device)))
    copied[bytes / 2] ^= 1;
}

CUresult copy_out(void* to, CUdeviceptr from, std::size_t bytes, Stream* stream, bool wait) {
  if (to == nullptr && bytes > 0) return kInvalidValue;
  if (const CUresult code = fetch(static_cast<unsigned char*>(to), from, bytes); code != 0) {
    return code;
  }
  spoil(static_cast<unsigned char*>(to), bytes, stream);
  return submit_copy(stream, bytes, wait, &DeviceValue::from_card);
}

CUresult fill(CUdeviceptr to, unsigned char value, std::size_t bytes, Stream* stream) {
  if (const CUresult code = store(to, nullptr, value, bytes); code != 0) return code;
  // On-board memory is two orders faster than the bus.
  return submit_copy(stream, bytes / 100, false);
}

}  // namespace
}  // namespace gpuward::gpusim

using namespace gpuward::gpusim;

GPUSIM_CUDA cuMemAlloc_v2(CUdeviceptr* out, std::size_t bytes) {
  GPUSIM_ENTER();
  if (out == nullptr || bytes == 0 || bytes > kNever / 2) return kInvalidValue;
  Context* context = nullptr;
  if (const CUresult code = require_context(context); code != 0) return code;
  const std::uint64_t charged = (bytes + kGrain - 1) / kGrain * kGrain;
  CUresult code = charge(*context, charged);
  if (code == kOutOfMemory) {
    // Somebody may have died without anyone having noticed.
    process_session().sweep(context->device);
    code = charge(*context, charged);
  }
  if (code != kSuccess) return code;
  Driver& self = driver();
  const std::lock_guard guard(self.mutex);
  *out = self.next_address;
  self.next_address += (charged + (2U << 20) - 1) / (2U << 20) * (2U << 20);
  self.allocations.emplace(*out, Allocation{bytes, charged, context, {}});
  return kSuccess;
}

GPUSIM_CUDA cuMemFree_v2(CUdeviceptr address) {
  GPUSIM_ENTER();
  if (address == 0) return kSuccess;
  Driver& self = driver();
  Context* context = nullptr;
  std::uint64_t charged = 0;
  {
    const std::lock_guard guard(self.mutex);
    const auto found = self.allocations.find(address);
    if (found == self.allocations.end()) return kInvalidValue;
    context = found->second.context;
    charged = found->second.charged;
    self.kept_bytes -= found->second.pages.size() * kPage;
    self.allocations.erase(found);
  }
  give_back(*context, charged);
  return kSuccess;
}

GPUSIM_CUDA cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
  GPUSIM_ENTER();
  Context* context = nullptr;
  if (free == nullptr || total == nullptr) return kInvalidValue;
  if (const CUresult code = require_context(context); code != 0) return code;
  if (const CUresult code = device_problem(context->device); code != 0) return code;
  process_session().sweep(context->device);
  return process_session().look(context->device, [&](const DeviceValue& device) {
    *free = free_bytes(device, driver().instance);
    *total = room_bytes(device);
    return kSuccess;
  });
}

GPUSIM_CUDA cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, std::size_t bytes) {
  GPUSIM_ENTER();
  return copy_in(to, from, bytes, nullptr, true);
}
GPUSIM_CUDA cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, std::size_t bytes,
                                 CUstream stream) {
  GPUSIM_ENTER();
  return copy_in(to, from, bytes, stream, false);
}
GPUSIM_CUDA cuMemcpyDtoH_v2(void* to, CUdeviceptr from, std::size_t bytes) {
  GPUSIM_ENTER();
  return copy_out(to, from, bytes, nullptr, true);
}
GPUSIM_CUDA cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
  GPUSIM_ENTER();
  return copy_out(to, from, bytes, stream, false);
}
GPUSIM_CUDA cuMemsetD8_v2(CUdeviceptr to, unsigned char value, std::size_t bytes) {
  GPUSIM_ENTER();
  return fill(to, value, bytes, nullptr);
}
GPUSIM_CUDA cuMemsetD8Async(CUdeviceptr to, unsigned char value, std::size_t bytes,
                            CUstream stream) {
  GPUSIM_ENTER();
  return fill(to, value, bytes, stream);
}
