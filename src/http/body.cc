#include "http/body.h"

#include <algorithm>
#include <cassert>

#include "http/reader.h"

namespace gpuward::http {
namespace {

constexpr Refusal kBadChunk{400, "the chunks of the body cannot be read"};

/// Spaces around a size and control characters in an extension are read in different ways by
/// different readers; the parser lets both pass.
bool plain(std::string_view extension) {
  if (extension.starts_with(' ') || extension.starts_with('\t')) return false;
  return std::ranges::none_of(extension, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < ' ' && byte != '\t') || byte == 0x7f;
  });
}

/// The last chunk with its trailers has the shape of a head: a line, fields, an empty line.
bool plain_trailers(std::string_view last_chunk) {
  if (last_chunk.starts_with("\r\n")) last_chunk.remove_prefix(2);
  HeadScan scan;
  const auto end = scan.find_end(last_chunk);
  return end && *end == last_chunk.size();
}

}  // namespace

struct BodyScan::Chunks {
  ChunkReader parser;

  Chunks() {
    // The parser reads chunks only behind a head.
    static constexpr std::string_view head = "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n";
    beast_error error;
    [[maybe_unused]] const auto used =
        parser.put(boost::asio::buffer(head.data(), head.size()), error);
    assert(!error && used == head.size());
  }
};

BodyScan::BodyScan(Framing of) : kind_(of.kind) {
  if (kind_ == Framing::Kind::length) left_ = of.length;
  if (kind_ == Framing::Kind::chunked) chunks_ = std::make_unique<Chunks>();
}
BodyScan::BodyScan(BodyScan&&) noexcept = default;
BodyScan& BodyScan::operator=(BodyScan&&) noexcept = default;
BodyScan::~BodyScan() = default;

std::expected<std::size_t, Refusal> BodyScan::take(std::string_view bytes) {
  switch (kind_) {
    case Framing::Kind::none:
      return 0;
    case Framing::Kind::length: {
      const auto count = std::min<std::uint64_t>(left_, bytes.size());
      left_ -= count;
      return count;
    }
    case Framing::Kind::chunked:
      return take_chunks(bytes);
    case Framing::Kind::until_close:
    case Framing::Kind::tunnel:
      break;
  }
  return bytes.size();
}

std::expected<std::size_t, Refusal> BodyScan::take_chunks(std::string_view bytes) {
  auto& parser = chunks_->parser;
  std::size_t taken = 0;
  while (taken < bytes.size() && !parser.is_done()) {
    const auto rest = bytes.substr(taken);
    // The parser asserts that it is not asked again between these four bytes and the fifth.
    if (parser.data_left == 0 && std::string_view("0\r\n\r").starts_with(rest)) return taken;
    beast_error error;
    parser.extension = {};
    const auto used = parser.put(boost::asio::buffer(rest.data(), rest.size()), error);
    if (!plain(parser.extension)) return std::unexpected(kBadChunk);
    if (error == beast_http::error::need_more) {
      if (rest.size() >= kMaxChunkHead)
        return std::unexpected(Refusal{400, "the head of a chunk is too large"});
      return taken;
    }
    if (error) return std::unexpected(kBadChunk);
    if (parser.is_done() && (used > kMaxChunkHead || !plain_trailers(rest.substr(0, used))))
      return std::unexpected(kBadChunk);
    taken += used;
  }
  return taken;
}

bool BodyScan::done() const {
  switch (kind_) {
    case Framing::Kind::none:
      return true;
    case Framing::Kind::length:
      return left_ == 0;
    case Framing::Kind::chunked:
      return chunks_->parser.is_done();
    case Framing::Kind::until_close:
    case Framing::Kind::tunnel:
      break;
  }
  return false;
}

bool BodyScan::whole_at_close() const {
  return done() || kind_ == Framing::Kind::until_close || kind_ == Framing::Kind::tunnel;
}

}  // namespace gpuward::http
