// A heap for a test build of gpuward-anchor that is sealed when Anchor::run() begins: whoever
// allocates after that is written to the file that SEALED_HEAP_REPORT names, with the addresses on
// its stack (addr2line reads them), and the program ends. Linked with --wrap of Anchor::run.

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace gpuward::anchor {
class Anchor;
}

namespace {

alignas(64) std::array<std::byte, 8 << 20> arena;
std::size_t used = 0;
bool sealed = false;

// By frame pointers, which every file of gpuward keeps: backtrace(3) would allocate.
void report() {
  const char* path = std::getenv("SEALED_HEAP_REPORT");
  const int fd =
      path == nullptr ? -1 : ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  void* const* frame = static_cast<void* const*>(__builtin_frame_address(0));
  for (int depth = 0; depth < 12 && frame != nullptr; ++depth) {
    ::dprintf(fd, "%p\n", frame[1]);
    void* const* next = static_cast<void* const*>(*frame);
    if (next <= frame) break;
    frame = next;
  }
  ::close(fd);
}

void* take(std::size_t size, std::size_t alignment) {
  if (sealed) {
    sealed = false;  // dprintf may allocate
    report();
    ::_exit(70);
  }
  // The size stands before the block, for realloc.
  std::size_t at = used + sizeof(std::size_t);
  at = (at + alignment - 1) / alignment * alignment;
  if (at + size > arena.size()) return nullptr;
  std::byte* block = arena.data() + at;
  std::memcpy(block - sizeof(std::size_t), &size, sizeof size);
  used = at + size;
  return block;
}

}  // namespace

extern "C" {

int __real__ZN7gpuward6anchor6Anchor3runEv(gpuward::anchor::Anchor* anchor);
int __wrap__ZN7gpuward6anchor6Anchor3runEv(gpuward::anchor::Anchor* anchor);

int __wrap__ZN7gpuward6anchor6Anchor3runEv(gpuward::anchor::Anchor* anchor) {
  sealed = true;
  if (std::getenv("SEALED_HEAP_TRY") != nullptr) (void)take(1, 1);  // the test of this test
  const int code = __real__ZN7gpuward6anchor6Anchor3runEv(anchor);
  sealed = false;
  return code;
}

void* malloc(std::size_t size) {
  return take(size, alignof(std::max_align_t));
}
void free(void*) {}
void* calloc(std::size_t count, std::size_t size) {
  return take(count * size, alignof(std::max_align_t));
}
void* realloc(void* old, std::size_t size) {
  void* block = take(size, alignof(std::max_align_t));
  if (old == nullptr || block == nullptr) return block;
  std::size_t before = 0;
  std::memcpy(&before, static_cast<std::byte*>(old) - sizeof before, sizeof before);
  std::memcpy(block, old, before < size ? before : size);
  return block;
}
void* memalign(std::size_t alignment, std::size_t size) {
  return take(size, alignment);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return take(size, alignment);
}
int posix_memalign(void** block, std::size_t alignment, std::size_t size) {
  *block = take(size, alignment);
  return *block == nullptr ? ENOMEM : 0;
}
int malloc_trim(std::size_t) {
  return 0;
}
std::size_t malloc_usable_size(void* block) {
  if (block == nullptr) return 0;
  std::size_t size = 0;
  std::memcpy(&size, static_cast<std::byte*>(block) - sizeof size, sizeof size);
  return size;
}

}  // extern "C"
