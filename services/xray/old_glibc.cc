// Two functions that glibc has only since 2.35. Defined here they are bound to this program, which
// then starts on glibc 2.34 (Rocky 9) although it was built on a newer system.
#include <link.h>

#include <cmath>
#include <cstddef>
#include <cstdint>

#ifdef DLFO_STRUCT_HAS_EH_DBASE

namespace {

struct Search {
  std::uintptr_t address;
  dl_find_object* found;
};

// Does the object of @p info contain the address? Then fill in what the unwinder wants to know.
int look(dl_phdr_info* info, std::size_t, void* data) {
  auto* search = static_cast<Search*>(data);
  std::uintptr_t start = UINTPTR_MAX;
  std::uintptr_t end = 0;
  std::uintptr_t frame = 0;
  bool inside = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    const std::uintptr_t from = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_GNU_EH_FRAME) frame = from;
    if (segment.p_type != PT_LOAD) continue;
    start = from < start ? from : start;
    end = from + segment.p_memsz > end ? from + segment.p_memsz : end;
    inside |= search->address >= from && search->address < from + segment.p_memsz;
  }
  if (!inside || frame == 0) return 0;
  *search->found = {};
  // The dynamic linker tells addresses as numbers. NOLINTBEGIN(performance-no-int-to-ptr)
  search->found->dlfo_map_start = reinterpret_cast<void*>(start);
  search->found->dlfo_map_end = reinterpret_cast<void*>(end);
  search->found->dlfo_eh_frame = reinterpret_cast<void*>(frame);
  // NOLINTEND(performance-no-int-to-ptr)
  return 1;
}

}  // namespace

// libgcc's unwinder asks where the frames of an address are (glibc manual, "Dynamic Linker
// Introspection"); the walk over all objects is what it did itself before glibc 2.35.
extern "C" int _dl_find_object(void* address, dl_find_object* found) noexcept {
  Search search{reinterpret_cast<std::uintptr_t>(address), found};
  return ::dl_iterate_phdr(look, &search) == 1 ? 0 : -1;
}

#endif

// OpenCV calls it; the version of 2.35 differs from the old one only in how errors set errno.
extern "C" float hypotf(float x, float y) noexcept {
  return static_cast<float>(std::sqrt(double{x} * x + double{y} * y));
}
