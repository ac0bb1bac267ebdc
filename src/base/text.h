#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string_view>

namespace gpuward {

/// A short text stored inline: never allocates, so the anchor may build one at any time.
/// What does not fit is cut at a UTF-8 boundary and ends with "…", so a reader sees that it was
/// cut.
template <std::size_t Capacity>
class Text {
  static_assert(Capacity >= 8);

 public:
  Text() = default;
  Text(std::string_view text) { append(text); }  // NOLINT(google-explicit-constructor)
  Text(const char* text) : Text(std::string_view(text)) {}

  Text& append(std::string_view more) {
    if (cut_ || more.empty()) return *this;  // an empty view may point nowhere
    const std::size_t room = Capacity - size_;
    if (more.size() <= room) {
      std::memcpy(data_ + size_, more.data(), more.size());
      size_ += more.size();
      return *this;
    }
    std::memcpy(data_ + size_, more.data(), room);
    size_ = Capacity - kEllipsis.size();
    while (size_ > 0 && (static_cast<unsigned char>(data_[size_]) & 0xC0U) == 0x80U) --size_;
    std::memcpy(data_ + size_, kEllipsis.data(), kEllipsis.size());
    size_ += kEllipsis.size();
    cut_ = true;
    return *this;
  }
  Text& append(char c) { return append(std::string_view(&c, 1)); }
  Text& append_number(long long value) {
    char digits[24];
    char* end = digits + sizeof digits;
    char* at = end;
    const bool negative = value < 0;
    auto rest = negative ? 0ULL - static_cast<unsigned long long>(value)
                         : static_cast<unsigned long long>(value);
    do {
      *--at = static_cast<char>('0' + rest % 10);
      rest /= 10;
    } while (rest != 0);
    if (negative) *--at = '-';
    return append(std::string_view(at, static_cast<std::size_t>(end - at)));
  }

  std::string_view view() const { return {data_, size_}; }
  operator std::string_view() const { return view(); }  // NOLINT(google-explicit-constructor)
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  /// True when some of what was appended did not fit.
  bool cut() const { return cut_; }
  void clear() {
    size_ = 0;
    cut_ = false;
  }

  friend bool operator==(const Text& a, const Text& b) { return a.view() == b.view(); }

 private:
  static constexpr std::string_view kEllipsis = "…";
  char data_[Capacity] = {};
  std::size_t size_ = 0;
  bool cut_ = false;
};

}  // namespace gpuward
