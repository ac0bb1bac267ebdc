#include "http/head.h"

#include <algorithm>
#include <optional>

#include "http/reader.h"
#include "http/tokens.h"

namespace gpuward::http {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}
char variable(char c) {
  return c == '_' ? '-' : lower(c);
}

/// What the parser has against a head, for people.
Refusal refusal_for(const beast_error& code) {
  using enum beast_http::error;
  static constexpr struct {
    beast_http::error code;
    Refusal refusal;
  } table[] = {
      {bad_method, {400, "the method is no token"}},
      {bad_target, {400, "the target has characters that no target has"}},
      {bad_version, {505, "the first line does not end with HTTP/1.0 or HTTP/1.1"}},
      {bad_status, {400, "the status is no number of three digits"}},
      {bad_field, {400, "the name of a field is no token"}},
      {bad_value, {400, "the value of a field cannot be read"}},
      {bad_content_length, {400, "Content-Length is no number, or contradicts Transfer-Encoding"}},
      {multiple_content_length, {400, "two Content-Lengths that differ"}},
      {bad_transfer_encoding, {400, "Transfer-Encoding twice, or beside Content-Length"}},
      {header_limit, {431, "too many fields"}},
  };
  for (const auto& row : table)
    if (code == row.code) return row.refusal;
  return {400, "the head cannot be read"};
}

/// What the fields say that decides about framing and connection.
struct Control {
  std::string_view host;
  std::string_view length;
  std::string_view coding;
  std::string_view upgrade;
  std::string_view expect;
  int hosts = 0;
  int lengths = 0;
  int codings = 0;
  bool close = false;
  bool keep_alive = false;
  bool connection_upgrade = false;
  bool strips_framing = false;  ///< Connection names a field that nobody may take away
  bool lookalike = false;       ///< "Content_Length" and the like
};

constexpr std::string_view kNeverHopByHop[] = {"host", "content-length", "transfer-encoding"};

bool decides_framing(std::string_view name) {
  return std::ranges::any_of(kNeverHopByHop,
                             [&](auto never) { return equal_variables(name, never); });
}

void read_connection(std::string_view value, Control& control) {
  for_each_token(value, [&](std::string_view token) {
    if (equal_names(token, "close")) control.close = true;
    if (equal_names(token, "keep-alive")) control.keep_alive = true;
    if (equal_names(token, "upgrade")) control.connection_upgrade = true;
    if (decides_framing(token)) control.strips_framing = true;
  });
}

Control read_control(const Fields& fields) {
  Control control;
  for (const auto& [name, value] : fields) {
    if (equal_names(name, "host")) {
      control.host = value;
      ++control.hosts;
    } else if (equal_names(name, "content-length")) {
      control.length = value;
      ++control.lengths;
    } else if (equal_names(name, "transfer-encoding")) {
      control.coding = value;
      ++control.codings;
    } else if (equal_names(name, "connection")) {
      read_connection(value, control);
    } else if (equal_names(name, "upgrade")) {
      control.upgrade = value;
    } else if (equal_names(name, "expect")) {
      control.expect = value;
    } else if (decides_framing(name)) {
      control.lookalike = true;
    }
  }
  return control;
}

/// Of a Content-Length or Transfer-Encoding; nullopt when there is neither.
std::expected<std::optional<Framing>, Refusal> stated_framing(const Control& control, int minor,
                                                              std::uint64_t length) {
  if (control.codings > 0) {
    if (control.lengths > 0)
      return std::unexpected(Refusal{400, "both Transfer-Encoding and Content-Length"});
    if (control.codings > 1) return std::unexpected(Refusal{400, "two Transfer-Encodings"});
    if (minor == 0) return std::unexpected(Refusal{400, "Transfer-Encoding in HTTP/1.0"});
    if (!equal_names(control.coding, "chunked"))
      return std::unexpected(Refusal{501, "a transfer coding other than chunked"});
    return Framing{Framing::Kind::chunked, 0};
  }
  if (control.lengths > 1) return std::unexpected(Refusal{400, "two Content-Lengths"});
  if (control.lengths == 0) return std::nullopt;
  const bool digits = control.length.find_first_not_of("0123456789") == std::string_view::npos;
  if (!digits || control.length.empty())
    return std::unexpected(Refusal{400, "Content-Length is no number"});
  return Framing{Framing::Kind::length, length};
}

bool valid_host(std::string_view host) {
  return std::ranges::all_of(host, [](char c) {
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') ||
           std::string_view("-._~:[]%!$&'()*+;=").contains(c);
  });
}

/// The target without scheme and authority, which must be the Host's.
std::optional<std::string_view> origin_form(std::string_view target, std::string_view method,
                                            std::string_view host) {
  if (target.find('#') != std::string_view::npos) return std::nullopt;
  if (target.starts_with('/')) return target;
  if (target == "*" && method == "OPTIONS") return target;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!equal_names(target.substr(0, scheme.size()), scheme)) continue;
    const auto rest = target.substr(scheme.size());
    const auto slash = rest.find_first_of("/?");
    if (slash == std::string_view::npos || rest[slash] == '?') return std::nullopt;
    if (!equal_names(rest.substr(0, slash), host)) return std::nullopt;
    return rest.substr(slash);
  }
  return std::nullopt;
}

/// One whole head through the parser.
template <bool is_request>
std::expected<void, Refusal> collect(std::string_view head, HeadReader<is_request>& parser) {
  beast_error error;
  const auto used = parser.put(boost::asio::buffer(head.data(), head.size()), error);
  if (error && error != beast_http::error::need_more) return std::unexpected(refusal_for(error));
  if (!parser.is_header_done() || used != head.size())
    return std::unexpected(Refusal{400, "the head cannot be read"});
  return {};
}

std::optional<Refusal> against(const Control& control) {
  if (control.lookalike)
    return Refusal{400, "a field that could be taken for Host, Content-Length or so"};
  if (control.strips_framing) return Refusal{400, "Connection names Host, Content-Length or so"};
  return std::nullopt;
}

std::optional<Refusal> against(const RequestHead& request, const Control& control) {
  if (auto refusal = against(control)) return refusal;
  if (control.hosts > 1) return Refusal{400, "two Hosts"};
  if (control.hosts == 0 && request.minor > 0) return Refusal{400, "no Host"};
  if (!valid_host(control.host)) return Refusal{400, "Host is no name and port"};
  if (request.target.size() > kMaxTarget) return Refusal{414, "the target is too long"};
  if (request.method == "CONNECT" || request.method == "TRACE")
    return Refusal{501, "a method that is not offered here"};
  if (!control.expect.empty() && !equal_names(control.expect, "100-continue"))
    return Refusal{417, "an expectation other than 100-continue"};
  return std::nullopt;
}

Refusal as_upstream_fault(Refusal refusal) {
  return {502, refusal.why};
}

}  // namespace

bool equal_names(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, lower, lower);
}

bool equal_variables(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, variable, variable);
}

std::expected<RequestHead, Refusal> parse_request(std::string_view head) {
  HeadReader<true> parser;
  if (auto read = collect(head, parser); !read) return std::unexpected(read.error());
  RequestHead request{.method = parser.method,
                      .target = parser.target,
                      .host = {},
                      .minor = parser.minor,
                      .fields = parser.fields,
                      .framing = {},
                      .keep_alive = false,
                      .expects_continue = false,
                      .websocket = false};
  const Control control = read_control(request.fields);
  if (auto refusal = against(request, control)) return std::unexpected(*refusal);
  const auto target = origin_form(request.target, request.method, control.host);
  if (!target) return std::unexpected(Refusal{400, "the target is no path on this host"});
  const auto framing = stated_framing(control, request.minor, parser.content_length().value_or(0));
  if (!framing) return std::unexpected(framing.error());

  request.target = *target;
  request.host = control.host;
  request.framing = framing->value_or(Framing{});
  request.keep_alive = !control.close && (request.minor > 0 || control.keep_alive);
  const bool has_body =
      request.framing.kind == Framing::Kind::chunked || request.framing.length > 0;
  request.expects_continue = !control.expect.empty() && request.minor > 0 && has_body;
  request.websocket = request.minor > 0 && control.connection_upgrade && !has_body &&
                      request.method == "GET" && equal_names(control.upgrade, "websocket");
  return request;
}

std::expected<ResponseHead, Refusal> parse_response(std::string_view head, const Asked& asked) {
  using enum Framing::Kind;
  HeadReader<false> parser;
  if (auto read = collect(head, parser); !read)
    return std::unexpected(as_upstream_fault(read.error()));
  ResponseHead response{.status = parser.status,
                        .reason = parser.reason,
                        .minor = parser.minor,
                        .fields = parser.fields,
                        .framing = {},
                        .keep_alive = false};
  if (response.status < 100 || response.status > 599)
    return std::unexpected(Refusal{502, "a status that is none"});
  const Control control = read_control(response.fields);
  if (auto refusal = against(control)) return std::unexpected(as_upstream_fault(*refusal));
  auto framing = stated_framing(control, response.minor, parser.content_length().value_or(0));
  if (!framing) return std::unexpected(as_upstream_fault(framing.error()));

  if (response.status == 101) {
    if (!asked.websocket || !control.connection_upgrade ||
        !equal_names(control.upgrade, "websocket"))
      return std::unexpected(Refusal{502, "a switch of protocols that nobody asked for"});
    response.framing = {tunnel, 0};
    return response;
  }
  if (asked.head || response.status < 200 || response.status == 204 || response.status == 304)
    response.framing = {none, 0};
  else
    response.framing = framing->value_or(Framing{until_close, 0});
  if (response.framing.kind == chunked && asked.minor == 0)
    return std::unexpected(Refusal{502, "chunks for a HTTP/1.0 client"});
  response.keep_alive = response.framing.kind != until_close && !control.close &&
                        (response.minor > 0 || control.keep_alive);
  return response;
}

}  // namespace gpuward::http
