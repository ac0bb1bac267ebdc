#include "answer/known_answer.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

#include "base/utf8.h"

namespace gpuward::answer {
namespace {

namespace json = boost::json;

constexpr std::size_t kDeepest = 64;
constexpr std::size_t kLongestPlace = 160;  // cells

std::optional<json::value> parse(std::string_view text) {
  boost::system::error_code code;
  json::parse_options options;
  options.max_depth = kDeepest;
  auto value = json::parse({text.data(), text.size()}, code, {}, options);
  if (code) return std::nullopt;
  return value;
}

std::string step(std::string_view key) {
  std::string text = "/";
  for (const char c : key) {
    if (c == '~')
      text += "~0";
    else if (c == '/')
      text += "~1";
    else
      text += c;
  }
  return text;
}

std::string at(const std::string& pointer, const char* what = "") {
  return (pointer.empty() ? "in the whole" : "at " + shortened(printable(pointer), kLongestPlace)) +
         what;
}

/// Walks both at once and ends at the first value that differs. As deep as the parser lets a text
/// be.
class Walk {
 public:
  explicit Walk(const Leave& leave) : leave_(leave) {}

  std::optional<std::string> compare(const json::value& known, const json::value& other) {
    if (ignored()) return std::nullopt;
    if (known.is_number() && other.is_number())
      return is_near(known, other) ? std::nullopt : std::optional(at(pointer_));
    if (known.kind() != other.kind()) return at(pointer_);
    if (const auto* object = known.if_object()) return members(*object, other.get_object());
    if (const auto* array = known.if_array()) return items(*array, other.get_array());
    return known == other ? std::nullopt : std::optional(at(pointer_));
  }

 private:
  bool ignored() const { return std::ranges::find(leave_.ignore, pointer_) != leave_.ignore.end(); }

  std::optional<std::string> members(const json::object& known, const json::object& other) {
    const auto size = pointer_.size();
    for (const auto& [key, value] : known) {
      pointer_ += step(key);
      const auto* found = other.if_contains(key);
      auto differs = found != nullptr ? compare(value, *found)
                     : ignored()      ? std::nullopt
                                      : std::optional(at(pointer_, ", which is missing"));
      pointer_.resize(size);
      if (differs) return differs;
    }
    for (const auto& member : other) {
      if (known.contains(member.key())) continue;
      pointer_ += step(member.key());
      const bool may_be = ignored();
      pointer_.resize(size);  // its name is not the known answer's: it is not told
      if (!may_be) return at(pointer_, ", which has a further member");
    }
    return std::nullopt;
  }

  std::optional<std::string> items(const json::array& known, const json::array& other) {
    const auto size = pointer_.size();
    for (std::size_t n = 0; n < std::min(known.size(), other.size()); ++n) {
      pointer_ += "/" + std::to_string(n);
      auto differs = compare(known[n], other[n]);
      pointer_.resize(size);
      if (differs) return differs;
    }
    if (known.size() == other.size()) return std::nullopt;
    return at(pointer_, ", which has another number of items");
  }

  bool is_near(const json::value& known, const json::value& other) const {
    if (!known.is_double() && !other.is_double() && known == other) return true;
    const bool whole = !known.is_double() && !other.is_double();
    if (whole && leave_.tolerance == 0) return false;  // as doubles they might look the same
    const auto a = known.to_number<double>();
    const auto b = other.to_number<double>();
    return a == b || std::abs(a - b) <= leave_.tolerance * std::max(1.0, std::abs(a));
  }

  const Leave& leave_;
  std::string pointer_;
};

}  // namespace

bool is_pointer(std::string_view text) {
  if (!text.starts_with('/')) return false;
  for (auto tilde = text.find('~'); tilde != text.npos; tilde = text.find('~', tilde + 1))
    if (tilde + 1 == text.size() || (text[tilde + 1] != '0' && text[tilde + 1] != '1'))
      return false;
  return true;
}

Result<KnownAnswer> KnownAnswer::make(std::string text, Leave leave) {
  if (text.empty()) return fail(Errc::invalid, "use an empty answer as the known one");
  if (text.size() > kLongestAnswer)
    return fail(Errc::invalid, "use a known answer of more than 1 MiB");
  KnownAnswer known(std::move(text), std::move(leave));
  known.json_ = parse(known.text_);
  if (!known.json_ && (!known.leave_.ignore.empty() || known.leave_.tolerance != 0))
    return fail(Errc::invalid, "look for values in a known answer that is no JSON");
  return known;
}

std::vector<std::string> KnownAnswer::idle_pointers() const {
  std::vector<std::string> idle;
  for (const auto& pointer : leave_.ignore) {
    boost::system::error_code code;
    if (!json_ || json_->find_pointer(pointer, code) == nullptr) idle.push_back(pointer);
  }
  return idle;
}

std::optional<std::string> KnownAnswer::difference(std::string_view answer) const {
  if (answer == text_) return std::nullopt;
  if (json_) {
    const auto other = parse(answer);
    if (!other) return "in the whole, which is no JSON";
    return Walk(leave_).compare(*json_, *other);
  }
  const auto [mine, theirs] = std::ranges::mismatch(text_, answer);
  return "at byte " + std::to_string(mine - text_.begin());
}

}  // namespace gpuward::answer
