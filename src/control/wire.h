#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "base/inline_vec.h"
#include "base/pid.h"
#include "base/text.h"
#include "base/units.h"

// The one encoding of everything that travels between our programs or stands in a record.
//
//   frame   = length u32 | body            length counts the body, little-endian as all numbers
//   body    = 'g' 'w' | version u8 = 1 | kind u8 | field*
//   field   = tag u16 | length u32 | payload
//   payload = number: its low bytes, without trailing zeros (0 has none), signed ones zigzag first
//             text: its bytes · struct: field* · list: the tag once per element
//
// A field that is absent keeps its default; an unknown tag is skipped; no tag ever changes meaning.
// So every later version reads version 1 and the other way round. A decoder trusts no length.

namespace gpuward::wire {

inline constexpr std::size_t kFrameHeader = 4;
inline constexpr std::size_t kBodyHeader = 4;
inline constexpr std::uint8_t kVersion = 1;
/// Limit of what anchors read and write, and of a record.
inline constexpr std::size_t kMaxSmall = 64 << 10;
/// Limit of a warden's answer.
inline constexpr std::size_t kMaxLarge = 16 << 20;

template <class T>
inline constexpr bool is_text = false;
template <std::size_t N>
inline constexpr bool is_text<Text<N>> = true;
template <class T>
inline constexpr bool is_list = false;
template <class T>
inline constexpr bool is_list<std::vector<T>> = true;
template <class T, std::size_t N>
inline constexpr bool is_list<InlineVec<T, N>> = true;
template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <class T>
inline constexpr bool is_duration = false;
template <class R, class P>
inline constexpr bool is_duration<std::chrono::duration<R, P>> = true;

/// Encodes into a buffer of the caller; never allocates. What does not fit makes full() true, and
/// the result must not be sent.
class Writer {
 public:
  explicit Writer(std::span<std::byte> buffer) : buffer_(buffer) {}

  /// Starts a frame; end_frame() fills in its length.
  void begin_frame(std::uint8_t kind) {
    const std::byte header[] = {std::byte{},         std::byte{},    std::byte{},
                                std::byte{},         std::byte{'g'}, std::byte{'w'},
                                std::byte{kVersion}, std::byte{kind}};
    put(header, sizeof header);
  }
  std::span<const std::byte> end_frame() {
    if (!full_) put_at(0, size_ - kFrameHeader, 4);
    return buffer_.first(full_ ? 0 : size_);
  }
  bool full() const { return full_; }
  /// For the payload of one more field.
  std::size_t room() const {
    constexpr std::size_t kHeader = 6;
    return std::max(buffer_.size() - size_, kHeader) - kHeader;
  }

  template <class T>
  void operator()(std::uint16_t tag, const T& value) {
    if constexpr (is_list<T>) {
      for (const auto& item : value) one(tag, item);
    } else if constexpr (is_optional<T>) {
      if (value) one(tag, *value);
    } else if constexpr (requires { value.blank(); }) {
      if (!value.blank()) one(tag, value);
    } else {
      one(tag, value);
    }
  }

 private:
  template <class T>
  void one(std::uint16_t tag, const T& value) {
    const std::size_t start = size_;
    const std::byte header[6] = {};
    put(header, sizeof header);
    payload(value);
    if (full_) return;
    put_at(start, tag, 2);
    put_at(start + 2, size_ - start - sizeof header, 4);
  }

  template <class T>
  void payload(const T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      number(value ? 1 : 0);
    } else if constexpr (std::is_enum_v<T>) {
      number(static_cast<std::uint64_t>(value));
    } else if constexpr (std::signed_integral<T>) {
      const auto wide = static_cast<std::int64_t>(value);
      number((static_cast<std::uint64_t>(wide) << 1) ^ static_cast<std::uint64_t>(wide >> 63));
    } else if constexpr (std::unsigned_integral<T>) {
      number(value);
    } else if constexpr (std::is_same_v<T, double>) {
      std::uint64_t bits = 0;
      std::memcpy(&bits, &value, sizeof bits);
      number(bits);
    } else if constexpr (is_duration<T>) {
      payload(static_cast<std::int64_t>(value.count()));
    } else if constexpr (std::is_same_v<T, Bytes>) {
      number(value.count);
    } else if constexpr (std::is_same_v<T, Pid>) {
      number(static_cast<std::uint32_t>(value.number));
    } else if constexpr (is_text<T> || std::is_same_v<T, std::string> ||
                         std::is_same_v<T, std::string_view>) {
      const std::string_view text = value;
      put(reinterpret_cast<const std::byte*>(text.data()), text.size());
    } else {
      fields(*this, const_cast<T&>(value));  // fields() serves both ways; a Writer only reads
    }
  }

  void number(std::uint64_t value) {
    std::byte bytes[8];
    std::size_t n = 0;
    for (; value != 0; value >>= 8) bytes[n++] = static_cast<std::byte>(value & 0xffU);
    put(bytes, n);
  }
  void put(const std::byte* data, std::size_t count) {
    if (full_ || buffer_.size() - size_ < count) {
      full_ = true;
      return;
    }
    if (count != 0) std::memcpy(buffer_.data() + size_, data, count);
    size_ += count;
  }
  void put_at(std::size_t at, std::uint64_t value, int bytes) {
    for (int n = 0; n < bytes; ++n, value >>= 8)
      buffer_[at + static_cast<std::size_t>(n)] = static_cast<std::byte>(value & 0xffU);
  }

  std::span<std::byte> buffer_;
  std::size_t size_ = 0;
  bool full_ = false;
};

/// Decodes the fields of one struct. Bad lengths make ok() false; nothing is read beyond the input.
class Reader {
 public:
  template <class T>
  static bool read(std::span<const std::byte> input, T& value) {
    while (!input.empty()) {
      if (input.size() < 6) return false;
      const auto tag = static_cast<std::uint16_t>(little(input.first(2)));
      const auto length = static_cast<std::size_t>(little(input.subspan(2, 4)));
      input = input.subspan(6);
      if (length > input.size()) return false;
      Reader reader{tag, input.first(length)};
      fields(reader, value);
      if (!reader.ok_) return false;
      input = input.subspan(length);
    }
    return true;
  }

  template <class T>
  void operator()(std::uint16_t tag, T& value) {
    if (tag != tag_) return;
    if constexpr (is_list<T>) {
      std::remove_cvref_t<decltype(*value.begin())> item{};
      one(item);
      if (ok_) value.push_back(item);
    } else if constexpr (is_optional<T>) {
      typename T::value_type item{};
      one(item);
      if (ok_) value = item;
    } else {
      one(value);
    }
  }

 private:
  Reader(std::uint16_t tag, std::span<const std::byte> payload) : tag_(tag), payload_(payload) {}

  template <class T>
  void one(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      value = number(1) != 0;
    } else if constexpr (std::is_enum_v<T>) {
      value = static_cast<T>(number(sizeof(T)));
    } else if constexpr (std::signed_integral<T>) {
      const std::uint64_t bits = number(8);
      const auto wide = static_cast<std::int64_t>((bits >> 1) ^ (0 - (bits & 1)));
      value = static_cast<T>(wide);
      ok_ &= static_cast<std::int64_t>(value) == wide;
    } else if constexpr (std::unsigned_integral<T>) {
      value = static_cast<T>(number(sizeof(T)));
    } else if constexpr (std::is_same_v<T, double>) {
      const std::uint64_t bits = number(8);
      std::memcpy(&value, &bits, sizeof bits);
    } else if constexpr (is_duration<T>) {
      std::int64_t count = 0;
      one(count);
      value = T(count);
    } else if constexpr (std::is_same_v<T, Bytes>) {
      value.count = number(8);
    } else if constexpr (std::is_same_v<T, Pid>) {
      value.number = static_cast<pid_t>(number(4));
    } else if constexpr (is_text<T> || std::is_same_v<T, std::string>) {
      value = T(std::string_view(reinterpret_cast<const char*>(payload_.data()), payload_.size()));
    } else {
      ok_ &= read(payload_, value);
    }
  }

  static std::uint64_t little(std::span<const std::byte> bytes) {
    std::uint64_t value = 0;
    for (std::size_t n = bytes.size(); n-- > 0;)
      value = value << 8 | static_cast<std::uint64_t>(bytes[n]);
    return value;
  }
  std::uint64_t number(std::size_t most) {
    if (payload_.size() > most) {
      ok_ = false;
      return 0;
    }
    return little(payload_);
  }

  std::uint16_t tag_;
  std::span<const std::byte> payload_;
  bool ok_ = true;
};

/// A received body, not decoded yet.
struct Body {
  std::uint8_t kind = 0;
  std::span<const std::byte> fields;
};

/// Checks the body's header. Errc::bad_message for anything that is not ours.
Result<Body> open_body(std::span<const std::byte> body);

/// Decodes @p body into T if it is of T's kind.
template <class T>
Result<T> decode(const Body& body) {
  T value{};
  if (body.kind != T::kKind) return fail(Errc::bad_message, "read a message of another kind");
  if (!Reader::read(body.fields, value)) return fail(Errc::bad_message, "read a message");
  return value;
}

/// Encodes @p message as one frame into @p buffer. Errc::bad_message when it does not fit.
template <class T>
Result<std::span<const std::byte>> encode(const T& message, std::span<std::byte> buffer) {
  Writer writer(buffer);
  writer.begin_frame(T::kKind);
  fields(writer, const_cast<T&>(message));
  if (writer.full()) return fail(Errc::bad_message, "fit a message into its limit");
  return writer.end_frame();
}

/// Length of the body that the 4 bytes of a frame header announce.
std::size_t frame_length(std::span<const std::byte, kFrameHeader> header);

}  // namespace gpuward::wire
