#include <algorithm>

#include "http/head.h"

namespace gpuward::http {

std::expected<std::size_t, Refusal> HeadScan::find_end(std::string_view bytes) {
  const std::size_t limit = std::min(bytes.size(), kMaxHead);
  for (; seen_ < limit; ++seen_) {
    const auto c = static_cast<unsigned char>(bytes[seen_]);
    const char before = seen_ > 0 ? bytes[seen_ - 1] : '\n';
    if (c == '\n') {
      if (before != '\r') return std::unexpected(Refusal{400, "a line ends without CR"});
      if (seen_ == 1) return std::unexpected(Refusal{400, "an empty line before the first one"});
      if (bytes[seen_ - 2] == '\n') return ++seen_;
    } else if (before == '\r') {
      return std::unexpected(Refusal{400, "a CR without LF"});
    } else if ((c == ' ' || c == '\t') && before == '\n') {
      return std::unexpected(Refusal{400, "a line that begins with a space"});
    } else if ((c < ' ' && c != '\t' && c != '\r') || c == 0x7f) {
      return std::unexpected(Refusal{400, "a control character in the head"});
    }
  }
  if (bytes.size() < kMaxHead) return 0;
  if (bytes.substr(0, kMaxHead).find('\n') == std::string_view::npos)
    return std::unexpected(Refusal{414, "the first line is too long"});
  return std::unexpected(Refusal{431, "the head is too large"});
}

}  // namespace gpuward::http
