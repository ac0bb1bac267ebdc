#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string_view>

#include "base/inline_vec.h"

namespace gpuward::http {

/// Why a message is not taken: the status that its sender gets (a response that is not taken is a
/// 502 for the client), and a reason for people. @p why is static text.
struct Refusal {
  int status = 400;
  std::string_view why;

  friend bool operator==(const Refusal&, const Refusal&) = default;
};

/// The largest head with its empty line, in bytes; the largest target; the most fields.
inline constexpr std::size_t kMaxHead = 32 << 10;
inline constexpr std::size_t kMaxTarget = 8 << 10;
inline constexpr std::size_t kMaxFields = 100;

/// Finds where a head ends. Every byte is looked at once, however the head is cut into pieces, and
/// what no reader may be left to interpret is refused at its first byte: a LF without CR, a CR
/// without LF, NUL and other control characters, lines that go on in the next one (obs-fold), an
/// empty line before the first.
class HeadScan {
 public:
  /// @param bytes  all that has come of the message so far, from its first byte on.
  /// @return the size of the head with its empty line; 0 when more must come. 400, 414 (no end of
  /// the first line within kMaxHead) or 431.
  std::expected<std::size_t, Refusal> find_end(std::string_view bytes);

 private:
  std::size_t seen_ = 0;
};

struct Field {
  std::string_view name;
  std::string_view value;
};
using Fields = InlineVec<Field, kMaxFields>;

/// Letters in either case are the same.
bool equal_names(std::string_view a, std::string_view b);
/// So are '-' and '_': CGI and WSGI make one variable of both.
bool equal_variables(std::string_view a, std::string_view b);

/// How long the body is.
struct Framing {
  enum class Kind {
    none,         ///< no body follows, whatever the fields say (HEAD, 204, 304)
    length,       ///< exactly `length` bytes; 0 is possible
    chunked,      ///< chunks, then trailers
    until_close,  ///< a response that ends with its connection
    tunnel,       ///< 101: from here on bytes in both directions, no longer HTTP
  };
  Kind kind = Kind::none;
  std::uint64_t length = 0;

  friend bool operator==(const Framing&, const Framing&) = default;
};

/// A request whose meaning is beyond doubt. All views point into the head that was parsed.
struct RequestHead {
  std::string_view method;
  std::string_view target;  ///< begins with '/', or is "*"; an absolute form has lost its authority
  std::string_view host;    ///< empty where a HTTP/1.0 client sent none
  int minor = 1;            ///< HTTP/1.minor
  Fields fields;
  Framing framing;
  bool keep_alive = false;  ///< the client may send another request after the answer
  bool expects_continue = false;
  bool websocket = false;  ///< asks to switch to it; other upgrades are not offered to upstreams
};

/// What of the request decides how its answer is read.
struct Asked {
  bool head = false;  ///< HEAD: no body follows
  bool websocket = false;
  int minor = 1;
};

struct ResponseHead {
  int status = 0;
  std::string_view reason;
  int minor = 1;
  Fields fields;
  Framing framing;
  bool keep_alive = false;  ///< the upstream connection can be used again after the body

  /// 100 to 199 without 101: the answer itself is still to come.
  bool interim() const { return status < 200 && status != 101; }
};

/// @param head  exactly what HeadScan found, with its empty line.
/// Errors: 400; 414, 417 (an expectation other than 100-continue), 431, 501 (CONNECT, TRACE, a
/// transfer coding other than chunked), 505.
std::expected<RequestHead, Refusal> parse_request(std::string_view head);
/// The same for an answer. Every error is a 502.
std::expected<ResponseHead, Refusal> parse_response(std::string_view head, const Asked& asked);

}  // namespace gpuward::http
