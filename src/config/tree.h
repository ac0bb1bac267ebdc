#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "config/problem.h"
#include "config/report.h"

namespace gpuward::config {

enum class Kind : std::uint8_t { string, integer, real, boolean, date, array, table };

struct Entry;

/// A TOML value with its place: what the rest of this layer sees of a TOML file.
struct Node {
  Kind kind = Kind::string;
  std::string text;            ///< a string's value; a number as it would be written; else empty
  bool truth = false;          ///< a boolean's value
  std::vector<Node> items;     ///< of an array
  std::vector<Entry> entries;  ///< of a table, in the order they were written
  Place place;

  const Entry* find(std::string_view key) const;
};

struct Entry {
  std::string key;
  Place place;  ///< of the key
  Node value;
};

/// "a string", "an integer", ... for messages.
std::string_view kind_name(Kind kind);

/// Reads @p text as TOML 1.0. A syntax error ends it: the problem is the first one, and nothing
/// that follows it was looked at. Nesting is bounded, so no text can exhaust the stack.
std::expected<Node, Problem> read_toml(std::string_view text, const Report& report);

}  // namespace gpuward::config
