#include "xray/multipart.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace gpuward::xray {
namespace {

constexpr std::string_view kLineEnd = "\r\n";

std::unexpected<Problem> malformed(std::string reason) {
  return refuse(400, "bad_multipart", std::move(reason));
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool starts_with_word(std::string_view text, std::string_view word) {
  return text.size() >= word.size() &&
         std::ranges::equal(text.substr(0, word.size()), word, {}, lower);
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// The next `; key=value` of a header value, the value without its quotes. Browsers write %22 for a
// quote inside a name (RFC 7578, 2), but a backslash before one must not end the value either.
struct Parameter {
  std::string_view key, value;
};
std::optional<Parameter> next_parameter(std::string_view& rest) {
  const auto start = rest.find(';');
  if (start == std::string_view::npos) return std::nullopt;
  rest.remove_prefix(start + 1);
  const auto equals = rest.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  Parameter found{trimmed(rest.substr(0, equals)), {}};
  rest.remove_prefix(equals + 1);
  if (!rest.starts_with('"')) {
    const auto end = std::min(rest.find(';'), rest.size());
    found.value = trimmed(rest.substr(0, end));
    rest.remove_prefix(end);
    return found;
  }
  std::size_t end = 1;
  while (end < rest.size() && rest[end] != '"') end += rest[end] == '\\' ? 2 : 1;
  if (end >= rest.size()) return std::nullopt;
  found.value = rest.substr(1, end - 1);
  rest.remove_prefix(end + 1);
  return found;
}

// The lines of one part's header; only Content-Disposition matters here.
Part read_header(std::string_view header) {
  Part part;
  while (!header.empty()) {
    const auto end = std::min(header.find(kLineEnd), header.size());
    auto line = header.substr(0, end);
    header.remove_prefix(std::min(end + kLineEnd.size(), header.size()));
    constexpr std::string_view kDisposition = "content-disposition:";
    if (!starts_with_word(line, kDisposition)) continue;
    line.remove_prefix(kDisposition.size());
    while (const auto parameter = next_parameter(line)) {
      if (starts_with_word(parameter->key, "filename"))
        part.is_file = true;
      else if (parameter->key.size() == 4 && starts_with_word(parameter->key, "name"))
        part.name = parameter->value;
    }
  }
  return part;
}

// What follows a boundary on its line: "--" ends the body, blanks may pad it (RFC 2046, 5.1.1).
enum class After { part, end, neither };
After after_boundary(std::string_view& rest) {
  if (rest.starts_with("--")) return After::end;
  const auto text = std::min(rest.find_first_not_of(" \t"), rest.size());
  if (!rest.substr(text).starts_with(kLineEnd)) return After::neither;
  rest.remove_prefix(text + kLineEnd.size());
  return After::part;
}

// Takes one part off @p rest, which begins behind a boundary line; leaves it behind the next
// boundary.
Outcome<Part> take_part(std::string_view& rest, std::string_view delimiter) {
  Part part;
  if (rest.starts_with(kLineEnd)) {  // no header at all
    rest.remove_prefix(kLineEnd.size());
  } else {
    const auto end = rest.substr(0, kMaxPartHeader).find("\r\n\r\n");
    if (end == std::string_view::npos) {
      if (rest.size() < kMaxPartHeader) return malformed("the header of a part does not end");
      return refuse(413, "bad_multipart", "the header of a part is too long",
                    {{"limit_bytes", kMaxPartHeader}});
    }
    part = read_header(rest.substr(0, end));
    rest.remove_prefix(end + 4);
  }
  // An empty content may be followed at once by the boundary line, without a line end of its own.
  const auto end = rest.starts_with(delimiter.substr(2)) ? 0 : rest.find(delimiter);
  if (end == std::string_view::npos) return malformed("the body ends inside a part");
  part.content = rest.substr(0, end);
  rest.remove_prefix(
      end + (end == 0 && !rest.starts_with(delimiter) ? delimiter.size() - 2 : delimiter.size()));
  return part;
}

}  // namespace

Outcome<std::string> boundary_of(std::string_view content_type) {
  if (!starts_with_word(content_type, "multipart/form-data"))
    return malformed("the body is not multipart/form-data");
  auto rest = content_type;
  while (const auto parameter = next_parameter(rest)) {
    if (parameter->key.size() != 8 || !starts_with_word(parameter->key, "boundary")) continue;
    if (parameter->value.empty() || parameter->value.size() > 70)  // RFC 2046, 5.1.1
      return malformed("the boundary is empty or longer than 70 characters");
    return std::string(parameter->value);
  }
  return malformed("the content type names no boundary");
}

Outcome<std::vector<Part>> parse_multipart(std::string_view body, std::string_view boundary) {
  const std::string delimiter = "\r\n--" + std::string(boundary);
  const auto opening = std::string_view(delimiter).substr(2);
  auto rest = body;
  if (rest.starts_with(opening)) {
    rest.remove_prefix(opening.size());
  } else {
    const auto start = rest.find(delimiter);
    if (start == std::string_view::npos) return malformed("the body holds no boundary");
    rest.remove_prefix(start + delimiter.size());
  }
  std::vector<Part> parts;
  while (true) {
    const After after = after_boundary(rest);
    if (after == After::end) return parts;
    if (after == After::neither) return malformed("a boundary line does not end");
    if (parts.size() == kMaxParts)
      return refuse(413, "too_many_parts", "the body has too many parts",
                    {{"limit_parts", kMaxParts}});
    auto part = take_part(rest, delimiter);
    if (!part) return std::unexpected(std::move(part).error());
    parts.push_back(*part);
  }
}

}  // namespace gpuward::xray
