#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace gpuward::http {

/// The buffers of one loop. Whoever waits holds none: one is taken when there are bytes, and given
/// back when they are passed on, so that streams that idle cost no memory.
class BufferPool {
 public:
  static constexpr std::size_t kSize = 64 << 10;

  /// Owns one buffer, or none; gives it back to its pool, which outlives it.
  class Buffer {
   public:
    Buffer() = default;
    Buffer(Buffer&&) noexcept = default;
    Buffer& operator=(Buffer&& other) noexcept {
      if (this != &other) {
        give_back();
        pool_ = other.pool_;
        bytes_ = std::move(other.bytes_);
      }
      return *this;
    }
    ~Buffer() { give_back(); }

    explicit operator bool() const { return bytes_ != nullptr; }
    char* data() const { return bytes_.get(); }
    void give_back() {
      if (bytes_ != nullptr) pool_->keep(std::move(bytes_));
    }

   private:
    friend class BufferPool;
    Buffer(BufferPool& pool, std::unique_ptr<char[]> bytes)
        : pool_(&pool), bytes_(std::move(bytes)) {}
    BufferPool* pool_ = nullptr;
    std::unique_ptr<char[]> bytes_;
  };

  /// What is in it is unspecified.
  Buffer take() {
    ++lent_;
    if (kept_.empty()) return {*this, std::make_unique_for_overwrite<char[]>(kSize)};
    auto bytes = std::move(kept_.back());
    kept_.pop_back();
    return {*this, std::move(bytes)};
  }
  std::size_t lent() const { return lent_; }

 private:
  static constexpr std::size_t kMostKept = 64;

  void keep(std::unique_ptr<char[]> bytes) {
    --lent_;
    if (kept_.size() < kMostKept) kept_.push_back(std::move(bytes));
  }

  std::vector<std::unique_ptr<char[]>> kept_;
  std::size_t lent_ = 0;
};

}  // namespace gpuward::http
