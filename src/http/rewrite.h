#pragma once

#include <span>
#include <string>
#include <string_view>

#include "http/head.h"

namespace gpuward::http {

// Heads as they are passed on. What belongs to one connection only (Connection and what it names,
// Keep-Alive, Proxy-Connection, TE, Upgrade) is left out and said anew for the next connection; so
// is "Proxy", which CGI programs take for a setting of their own. All other fields keep their order
// and spelling. Fields of @p set replace all of the same name, also where '_' stands for '-': what
// the gateway says of a client, the client cannot say.

/// Appends the request to @p out. It goes upstream in the client's version, so that a HTTP/1.0
/// client is never answered in chunks. Fields that @p left_out names are not passed on.
void write_request(const RequestHead& request, std::span<const Field> set, std::string& out,
                   std::span<const std::string_view> left_out = {});

/// Whether the client's connection is kept after the answer.
enum class Persistence {
  implied,     ///< HTTP/1.1: kept, nothing needs to be said
  keep_alive,  ///< kept, and said so: a HTTP/1.0 client asked
  close,
};

/// Appends the answer to @p out, as HTTP/1.1. A body that ends with its connection closes the
/// client's too, whatever @p persistence is.
void write_response(const ResponseHead& response, std::span<const Field> set,
                    Persistence persistence, std::string& out);

}  // namespace gpuward::http
