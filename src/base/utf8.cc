#include "base/utf8.h"

#include <algorithm>
#include <array>
#include <span>

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

namespace {

struct Span {
  char32_t first;
  char32_t last;
};

bool inside(std::span<const Span> spans, char32_t code) {
  return std::ranges::any_of(spans, [&](Span s) { return code >= s.first && code <= s.last; });
}

}  // namespace

std::size_t cells_of(char32_t code) {
  static constexpr std::array<Span, 5> kNone = {
      {{0x300, 0x36F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF}}};
  static constexpr std::array<Span, 10> kWide = {{{0x1100, 0x115F},
                                                  {0x2E80, 0xA4CF},
                                                  {0xAC00, 0xD7A3},
                                                  {0xF900, 0xFAFF},
                                                  {0xFE30, 0xFE6F},
                                                  {0xFF00, 0xFF60},
                                                  {0xFFE0, 0xFFE6},
                                                  {0x1F300, 0x1F64F},
                                                  {0x1F900, 0x1F9FF},
                                                  {0x20000, 0x3FFFD}}};
  if (inside(kNone, code)) return 0;
  return inside(kWide, code) ? 2 : 1;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) width += cells_of(take_glyph(text).code);
  return width;
}

std::string shortened(std::string_view text, std::size_t most) {
  if (display_width(text) <= most) return std::string(text);
  std::string out;
  for (std::size_t width = 1; !text.empty();) {  // the "…" takes one
    const Glyph glyph = take_glyph(text);
    width += cells_of(glyph.code);
    if (width > most) break;
    out += glyph.bytes;
  }
  return out + "…";
}

}  // namespace gpuward
