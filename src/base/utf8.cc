#include "base/utf8.h"

#include <array>

namespace gpuward {

Glyph take_glyph(std::string_view& text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  std::size_t length = 1;
  if (first >= 0xC2 && first <= 0xDF) length = 2;
  if (first >= 0xE0 && first <= 0xEF) length = 3;
  if (first >= 0xF0 && first <= 0xF4) length = 4;
  char32_t code = length == 1 ? first : first & (0x7FU >> length);
  bool whole = length <= text.size() && (length > 1 || first < 0x80);
  for (std::size_t i = 1; whole && i < length; ++i) {
    whole = (byte(i) & 0xC0U) == 0x80U;
    code = (code << 6) | (byte(i) & 0x3FU);
  }
  constexpr std::array<char32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  whole = whole && code >= kLeast[length] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
  if (!whole) {
    text.remove_prefix(1);
    return {"?", '?'};
  }
  const Glyph glyph{text.substr(0, length), code};
  text.remove_prefix(length);
  const bool control = (code < 0x20 && code != '\t') || (code >= 0x7F && code < 0xA0);
  const bool turns_text = (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
  return control || turns_text ? Glyph{"?", '?'} : glyph;
}

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Glyph glyph = take_glyph(text);
    out += glyph.code == '\t' ? std::string_view(" ") : glyph.bytes;
  }
  return out;
}

}  // namespace gpuward
