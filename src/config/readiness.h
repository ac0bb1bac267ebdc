#pragma once

#include <expected>
#include <string>
#include <string_view>

namespace gpuward::config {

struct Wrong {
  std::string what;
  std::string expected;
};

struct Target {
  std::string address;  ///< as Readiness::address; empty: the replica's own port
  std::string path;
};

/// "/path" or "A.B.C.D:PORT/path" or "[v6]:PORT/path"; PORT may be "{port}".
std::expected<Target, Wrong> parse_http_target(std::string_view text);

/// "A.B.C.D:PORT" or "[v6]:PORT"; PORT may be "{port}".
std::expected<std::string, Wrong> parse_tcp_target(std::string_view text);

}  // namespace gpuward::config
