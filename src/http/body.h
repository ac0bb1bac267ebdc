#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <string_view>

#include "http/head.h"

namespace gpuward::http {

/// The most that one chunk's size line, or the last chunk with its trailers, may take.
inline constexpr std::size_t kMaxChunkHead = 8 << 10;

/// Follows the framing of one body whose bytes are relayed exactly as they came: chunk sizes,
/// extensions and trailers too, once they are found to be beyond doubt. Holds no part of the body.
class BodyScan {
 public:
  /// For a tunnel there is no end. @p of may not be until_close for a request.
  explicit BodyScan(Framing of);
  BodyScan(BodyScan&&) noexcept;
  BodyScan& operator=(BodyScan&&) noexcept;
  ~BodyScan();

  /// @param bytes  what follows the bytes taken so far.
  /// @return how many of its first bytes belong to the body and may be passed on at once. The rest
  /// is what comes after the body when done(); else it is the piece of a chunk's head (less than
  /// kMaxChunkHead), and the caller gives it again together with what follows.
  /// Errors: 400, for a response to be read as 502. Nothing after it can be trusted: the connection
  /// must end.
  std::expected<std::size_t, Refusal> take(std::string_view bytes);

  /// True when the body is whole; at once for an empty one.
  bool done() const;
  /// The sender has closed: is what came the whole body?
  bool whole_at_close() const;

 private:
  struct Chunks;
  std::expected<std::size_t, Refusal> take_chunks(std::string_view bytes);

  Framing::Kind kind_;
  std::uint64_t left_ = 0;          ///< length only
  std::unique_ptr<Chunks> chunks_;  ///< chunked only
};

}  // namespace gpuward::http
