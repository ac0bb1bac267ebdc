#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace gpuward {

/// One code point of a text from outside, safe to show.
struct Glyph {
  std::string_view bytes;
  char32_t code = 0;
};

/// Takes one code point from the front of @p text, which must not be empty. What is not UTF-8 (RFC
/// 3629; one byte is taken), a control character other than the tab, and a character that turns the
/// direction of text come back as "?". `bytes` points into @p text or is static.
Glyph take_glyph(std::string_view& text);

/// @p text as one line of valid UTF-8 that no terminal and no reader of JSON stumbles over: as
/// take_glyph() gives it, tabs as blanks. For everything that others chose: names of processes,
/// arguments, words of the user.
std::string printable(std::string_view text);

/// How many cells of a terminal @p code takes: 0, 1 or 2. Coarse: the blocks that names and reports
/// really use (CJK, Hangul, full-width forms, emoji; combining marks take none).
std::size_t cells_of(char32_t code);
/// The same for a whole text.
std::size_t display_width(std::string_view text);

/// @p text, or its beginning and "…" where it is wider than @p most cells; never within a
/// character.
std::string shortened(std::string_view text, std::size_t most);

}  // namespace gpuward
