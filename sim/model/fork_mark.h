#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

namespace gpuward::gpusim {

/// Knows whether this process is a forked child of the one that called set().
/// A page that the kernel empties in the child (MADV_WIPEONFORK, Linux 4.14) costs one load to ask,
/// where getpid(2) would cost a system call on every launch; older kernels fall back to it.
class ForkMark {
 public:
  void set() {
    if (page_ == nullptr) {
      void* page =
          ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (page != MAP_FAILED) {
        if (::madvise(page, 4096, MADV_WIPEONFORK) == 0) {
          page_ = static_cast<std::atomic<int>*>(page);
        } else {
          ::munmap(page, 4096);
        }
      }
    }
    if (page_ != nullptr) page_->store(1, std::memory_order_relaxed);
    pid_ = ::getpid();
  }
  bool is_set() const { return pid_ != 0; }
  bool in_child() const {
    if (page_ != nullptr) return page_->load(std::memory_order_relaxed) == 0;
    return pid_ != 0 && pid_ != ::getpid();
  }

 private:
  std::atomic<int>* page_ = nullptr;
  pid_t pid_ = 0;
};

}  // namespace gpuward::gpusim
