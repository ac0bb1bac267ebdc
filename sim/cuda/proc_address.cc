#include <dlfcn.h>

#include <string>

#include "cuda/driver.h"

namespace gpuward::gpusim {
namespace {

void* own_library() {
  static void* const handle = [] {
    Dl_info info;
    if (::dladdr(reinterpret_cast<void*>(&own_library), &info) == 0)
      return static_cast<void*>(nullptr);
    return ::dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  }();
  return handle;
}

/// The newest form of a plain name; a name that carries a suffix stands for itself.
void* find(const char* symbol) {
  void* library = own_library();
  if (library == nullptr || std::string_view(symbol).substr(0, 2) != "cu") return nullptr;
  for (const char* suffix : {"_v3", "_v2", ""}) {
    if (void* found = ::dlsym(library, (std::string(symbol) + suffix).c_str())) return found;
  }
  return nullptr;
}

}  // namespace
}  // namespace gpuward::gpusim

using namespace gpuward::gpusim;

GPUSIM_CUDA cuGetProcAddress_v2(const char* symbol, void** out, int, std::uint64_t,
                                unsigned* status) {
  if (symbol == nullptr || out == nullptr) return kInvalidValue;
  *out = find(symbol);
  if (status != nullptr) *status = *out == nullptr ? 1 : 0;
  return *out == nullptr ? kNotFound : kSuccess;
}

GPUSIM_CUDA cuGetProcAddress(const char* symbol, void** out, int version, std::uint64_t flags) {
  return cuGetProcAddress_v2(symbol, out, version, flags, nullptr);
}
