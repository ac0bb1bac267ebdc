#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace gpuward::xray {

/// Reads numbers from untrusted bytes. Past the end it yields zeros and good() turns false for
/// good, so a parser may read a whole record and ask once.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool good() const { return good_; }
  std::size_t position() const { return at_; }
  std::size_t left() const { return bytes_.size() - at_; }
  bool starts_with(std::string_view prefix) const {
    return left() >= prefix.size() &&
           std::memcmp(bytes_.data() + at_, prefix.data(), prefix.size()) == 0;
  }

  void skip(std::uint64_t count) {
    if (!has(count)) return;
    at_ += count;
  }
  std::string_view text(std::size_t count) {
    if (!has(count)) return {};
    const std::string_view view(reinterpret_cast<const char*>(bytes_.data() + at_), count);
    at_ += count;
    return view;
  }
  unsigned u8() { return static_cast<unsigned>(number(1, true)); }
  unsigned big16() { return static_cast<unsigned>(number(2, true)); }
  std::uint32_t big32() { return number(4, true); }
  unsigned little16() { return static_cast<unsigned>(number(2, false)); }
  std::uint32_t little32() { return number(4, false); }

 private:
  bool has(std::uint64_t count) {
    if (good_ && count <= left()) return true;
    good_ = false;
    at_ = bytes_.size();
    return false;
  }
  std::uint32_t number(std::size_t size, bool big_endian) {
    if (!has(size)) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t from = big_endian ? i : size - 1 - i;
      value = value << 8U | std::to_integer<std::uint32_t>(bytes_[at_ + from]);
    }
    at_ += size;
    return value;
  }

  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
  bool good_ = true;
};

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace gpuward::xray
