#include "config/readiness.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>

#include "config/problem.h"
#include "domain/service.h"

namespace gpuward::config {
namespace {

constexpr std::string_view kOwnPort = "{port}";

bool is_numeric(int family, std::string_view host) {
  in6_addr room{};
  return host.size() < INET6_ADDRSTRLEN &&
         ::inet_pton(family, std::string(host).c_str(), &room) == 1;
}

bool is_port(std::string_view text) {
  if (text == kOwnPort) return true;
  unsigned port = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), port);
  return code == std::errc{} && end == text.data() + text.size() && port >= 1 && port <= 65535 &&
         text.front() != '0';
}

std::unexpected<Wrong> wrong(std::string what, std::string expected) {
  return std::unexpected(Wrong{std::move(what), std::move(expected)});
}

// A path goes into a request line as it stands, so nothing may end that line early.
bool is_path(std::string_view text) {
  return text.starts_with('/') && text.size() <= kLongestReadyPath &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7f'; });
}

}  // namespace

std::expected<std::string, Wrong> parse_tcp_target(std::string_view text) {
  if (text.find("://") != std::string_view::npos)
    return wrong(in_quotes(text) + " has a scheme", "\"127.0.0.1:7860\" without \"...://\"");
  const bool six = text.starts_with('[');
  const std::size_t colon = text.rfind(':');
  const bool bare_six = !six && std::ranges::count(text, ':') > 1;
  if (bare_six) return wrong(in_quotes(text) + " is not an address and a port", "\"[::1]:7860\"");
  if (colon == std::string_view::npos || (six && text.find("]:") != colon - 1))
    return wrong(in_quotes(text) + " has no port", "a numeric address such as \"127.0.0.1:7860\"");
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (six) host = host.substr(1, host.size() - 2);
  if (!is_numeric(six ? AF_INET6 : AF_INET, host))
    return wrong(
        in_quotes(host) + " is not a numeric address (static programs do not resolve names)",
        "\"127.0.0.1:" + (is_port(port) ? std::string(port) : "7860") + "\"");
  if (!is_port(port)) return wrong("bad port " + in_quotes(port), "1 to 65535, or {port}");
  return std::string(text);
}

std::expected<Target, Wrong> parse_http_target(std::string_view text) {
  for (const std::string_view scheme : {"http://", "https://"})
    if (text.starts_with(scheme))
      return wrong(in_quotes(text) + " is a URL",
                   scheme == "http://" ? "\"127.0.0.1:7860/path\", without \"http://\""
                                       : "\"127.0.0.1:7860/path\": probes speak plain HTTP");
  const std::size_t slash = text.find('/');
  const std::string_view host = text.substr(0, slash);
  if (slash == std::string_view::npos) {
    if (host.find(':') == std::string_view::npos)
      return wrong(in_quotes(text) + " is neither a path nor an address",
                   "\"/path\" or \"127.0.0.1:7860/path\"");
    if (auto address = parse_tcp_target(host); !address)
      return std::unexpected(std::move(address).error());
    return wrong(in_quotes(text) + " has no path", "\"" + std::string(text.substr(0, 80)) + "/\"");
  }
  Target target{{}, std::string(text.substr(slash))};
  if (!host.empty()) {
    auto address = parse_tcp_target(host);
    if (!address) return std::unexpected(std::move(address).error());
    target.address = std::move(*address);
  }
  if (!is_path(target.path))
    return wrong("bad path " + in_quotes(target.path),
                 "printable ASCII without blanks, at most 2000 bytes");
  return target;
}

}  // namespace gpuward::config
