// The relay's framing: any bytes, cut anywhere. What is taken must mean the same however it was
// cut, and what is passed on must mean what was taken.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http/body.h"
#include "http/head.h"
#include "http/rewrite.h"

namespace {

using namespace gpuward::http;

void must(bool holds) {
  if (!holds) __builtin_trap();
}

/// The size of the head when its bytes come @p step at a time; nullopt when it is refused.
std::optional<std::size_t> head_size(std::string_view text, std::size_t step) {
  HeadScan scan;
  std::size_t size = 0;
  while (size < text.size()) {
    size = std::min(text.size(), size + step);
    const auto end = scan.find_end(text.substr(0, size));
    if (!end) return std::nullopt;
    if (*end != 0) return *end;
  }
  return 0;
}

struct Relayed {
  bool refused = false;
  bool whole = false;
  std::string bytes;
  friend bool operator==(const Relayed&, const Relayed&) = default;
};

Relayed relay(Framing framing, std::string_view text, std::size_t step) {
  BodyScan scan(framing);
  Relayed out;
  std::string buffer;
  while (!text.empty() && !scan.done()) {
    const auto piece = text.substr(0, step);
    text.remove_prefix(piece.size());
    buffer.append(piece);
    const auto taken = scan.take(buffer);
    if (!taken) return {.refused = true, .whole = false, .bytes = {}};
    must(*taken <= buffer.size());
    out.bytes.append(buffer, 0, *taken);
    buffer.erase(0, *taken);
    must(framing.kind != Framing::Kind::chunked || buffer.size() < kMaxChunkHead || scan.done());
  }
  out.whole = scan.done();
  return out;
}

void check_body(Framing framing, std::string_view rest, std::size_t step) {
  const auto at_once = relay(framing, rest, rest.size());
  must(at_once == relay(framing, rest, step));
  must(rest.starts_with(at_once.bytes));
}

void check_request(std::string_view head, std::string_view rest, std::size_t step) {
  const auto request = parse_request(head);
  if (!request) return must(request.error().status >= 400 && !request.error().why.empty());
  must(request->framing.kind != Framing::Kind::until_close);
  std::string again;
  write_request(*request, {}, again);
  must(head_size(again, again.size()) == again.size());
  const auto second = parse_request(again);
  must(second.has_value());
  must(second->method == request->method && second->target == request->target &&
       second->host == request->host && second->framing == request->framing &&
       second->minor == request->minor && second->websocket == request->websocket);
  std::string third;
  write_request(*second, {}, third);
  must(third == again);
  check_body(request->framing, rest, step);
}

void check_response(std::string_view head, std::string_view rest, const Asked& asked,
                    std::size_t step) {
  const auto response = parse_response(head, asked);
  if (!response) return must(response.error().status == 502 && !response.error().why.empty());
  std::string again;
  write_response(*response, {}, Persistence::implied, again);
  must(head_size(again, again.size()) == again.size());
  const auto second = parse_response(again, asked);
  must(second.has_value());
  must(second->status == response->status && second->framing == response->framing);
  check_body(response->framing, rest, step);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  const std::size_t step = 1 + data[0] / 8;
  const auto end = head_size(text, text.size());
  must(end == head_size(text, step));
  if (!end) return 0;
  if (*end == 0) return 0;
  const auto head = text.substr(0, *end);
  const auto rest = text.substr(*end);
  check_request(head, rest, step);
  check_response(head, rest,
                 {.head = (data[0] & 1) != 0,
                  .websocket = (data[0] & 2) != 0,
                  .minor = (data[0] & 4) != 0 ? 0 : 1},
                 step);
  return 0;
}
