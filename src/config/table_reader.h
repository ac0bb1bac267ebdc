#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/units.h"
#include "config/config.h"
#include "config/report.h"
#include "config/tree.h"

namespace gpuward::config {

/// What a duration may be; the text is for people.
struct Range {
  std::chrono::milliseconds low;
  std::chrono::milliseconds high;
  std::string_view text;
};

/// What a size may be; the text is for people.
struct Sizes {
  Bytes low;
  Bytes high;
  std::string_view text;
};

bool is_number(Kind kind);
/// @p text as it would be written, cut when it is long.
std::string in_toml(std::string_view text);

/// Reads values of every type from one table, and from the tables below it. What is wrong becomes a
/// problem in the report; the place of each key that was read is kept in the origin. Looks at what
/// it was made of for as long as it lives.
class TableReader {
 public:
  TableReader(const Node& table, Report& report, Origin& origin)
      : table_(table), report_(report), origin_(origin) {}

  const Entry* find(std::string_view key) const { return table_.find(key); }
  const Node& table() const { return table_; }
  const Origin& origin() const { return origin_; }
  void add(const Place& place, std::string what, std::string expected = {}) {
    report_.add(place, std::move(what), std::move(expected));
  }
  void wrong_type(const Node& node, std::string_view key, std::string expected);

  /// A string without a NUL byte that fits one argument; null after a problem.
  const std::string* string(const Node& node, std::string_view key);
  /// A string at @p key, not empty; null when it is absent or wrong.
  const std::string* word(std::string_view key, const std::string& expected);
  /// The path in @p node, which stands at @p key, without "./"; a relative one begins in @p base.
  void path(const Node& node, std::string_view key, const std::string& base, std::string& into);
  /// Calls @p take(node, text) for the strings of the list at @p key.
  template <class Take>
  void words(std::string_view key, const std::string& expected, Take&& take) {
    const Entry* entry = find(key);
    if (entry == nullptr) return;
    if (entry->value.kind != Kind::array) return wrong_type(entry->value, key, expected);
    for (const Node& item : entry->value.items)
      if (const std::string* text = string(item, key)) take(item, *text);
  }
  /// An integer at @p key; absent when it is not written or wrong.
  std::optional<int> whole_number(std::string_view key, int low, int high);
  /// Reads true or false at @p key, if written, into @p into; likewise below the table @p name.
  void truth(std::string_view key, bool& into);
  void truth(const Node& table, std::string_view name, std::string_view key, bool& into);

  /// Reads @p table's @p key, if written, into @p into: an absolute path of at most @p longest
  /// bytes without a NUL, true for @p usual, false for none. @p expected: for people.
  void path_or_switch(const Node& table, std::string_view table_name, std::string_view key,
                      std::size_t longest, std::string_view usual, std::string_view expected,
                      std::string& into);

  /// The table at @p key with its keys checked, or null when it is absent or none.
  const Node* subtable(std::string_view key, std::string expected);
  /// Reads @p table's @p key, if written, into @p into; false when there was something wrong.
  bool duration(const Node& table, std::string_view table_name, std::string_view key,
                const Range& range, std::chrono::milliseconds& into);
  /// The same for a size; @p table_name may be empty. @p after: what follows the size, as "/s".
  bool bytes(const Node& table, std::string_view table_name, std::string_view key,
             const Sizes& range, Bytes& into, std::string_view after = {});

 protected:
  const Node& table_;
  Report& report_;
  Origin& origin_;
};

}  // namespace gpuward::config
