#pragma once

#include <array>
#include <cassert>
#include <cstddef>

namespace gpuward {

/// A vector of at most Capacity trivially small values, stored inline: never allocates. What does
/// not fit is counted, not kept, so a reader can say "and N more".
template <class T, std::size_t Capacity>
class InlineVec {
 public:
  /// False, and counted in dropped(), when full.
  bool push_back(const T& value) {
    if (size_ == Capacity) {
      ++dropped_;
      return false;
    }
    items_[size_++] = value;
    return true;
  }
  void clear() { size_ = dropped_ = 0; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::size_t dropped() const { return dropped_; }
  void set_dropped(std::size_t count) { dropped_ = count; }
  static constexpr std::size_t capacity() { return Capacity; }
  T* begin() { return items_.data(); }
  T* end() { return items_.data() + size_; }
  const T* begin() const { return items_.data(); }
  const T* end() const { return items_.data() + size_; }
  T& operator[](std::size_t at) {
    assert(at < size_);
    return items_[at];
  }
  const T& operator[](std::size_t at) const {
    assert(at < size_);
    return items_[at];
  }
  T& back() { return (*this)[size_ - 1]; }

 private:
  std::array<T, Capacity> items_{};
  std::size_t size_ = 0;
  std::size_t dropped_ = 0;
};

}  // namespace gpuward
