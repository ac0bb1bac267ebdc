#include "http/rewrite.h"

#include <algorithm>
#include <charconv>

#include "http/tokens.h"

namespace gpuward::http {
namespace {

constexpr std::string_view kOneConnection[] = {"connection", "keep-alive", "proxy-connection",
                                               "te",         "upgrade",    "proxy"};

/// A status that never has a body says nothing of one.
constexpr std::string_view kOfABody[] = {"content-length", "transfer-encoding"};

void append_number(int value, std::string& out) {
  char digits[16];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out.append(digits, end);
}

void append(const Field& field, std::string& out) {
  out.append(field.name).append(": ").append(field.value).append("\r\n");
}

bool named_by_connection(const Fields& fields, std::string_view name) {
  bool named = false;
  for (const auto& field : fields) {
    if (!equal_names(field.name, "connection")) continue;
    for_each_token(field.value,
                   [&](std::string_view token) { named = named || equal_names(token, name); });
  }
  return named;
}

/// Appends what is passed on of @p fields, without those that @p left_out names, then @p set.
void append_fields(const Fields& fields, std::span<const std::string_view> left_out,
                   std::span<const Field> set, std::string& out) {
  for (const auto& field : fields) {
    const auto is = [&](std::string_view name) { return equal_variables(field.name, name); };
    if (std::ranges::any_of(kOneConnection, is) || std::ranges::any_of(left_out, is) ||
        std::ranges::any_of(set, is, &Field::name) || named_by_connection(fields, field.name))
      continue;
    append(field, out);
  }
  for (const auto& field : set) append(field, out);
}

constexpr std::string_view kToWebsocket = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

}  // namespace

void write_request(const RequestHead& request, std::span<const Field> set, std::string& out,
                   std::span<const std::string_view> left_out) {
  out.append(request.method).append(" ").append(request.target).append(" HTTP/1.");
  append_number(request.minor, out);
  out.append("\r\n");
  append_fields(request.fields, left_out, set, out);
  if (request.websocket) out.append(kToWebsocket);
  out.append("\r\n");
}

void write_response(const ResponseHead& response, std::span<const Field> set,
                    Persistence persistence, std::string& out) {
  out.append("HTTP/1.1 ");
  append_number(response.status, out);
  out.append(" ").append(response.reason).append("\r\n");
  const bool never_a_body = response.status < 200 || response.status == 204;
  append_fields(response.fields,
                never_a_body ? std::span<const std::string_view>(kOfABody)
                             : std::span<const std::string_view>(),
                set, out);
  if (response.framing.kind == Framing::Kind::tunnel) {
    out.append(kToWebsocket);
  } else if (response.interim()) {
    // It says nothing of the connection: the answer will.
  } else if (persistence == Persistence::close ||
             response.framing.kind == Framing::Kind::until_close) {
    out.append("Connection: close\r\n");
  } else if (persistence == Persistence::keep_alive) {
    out.append("Connection: keep-alive\r\n");
  }
  out.append("\r\n");
}

}  // namespace gpuward::http
