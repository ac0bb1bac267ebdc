#include "xray/json_text.h"

#include <array>
#include <boost/json/serialize.hpp>
#include <charconv>

namespace gpuward::xray {
namespace {

namespace json = boost::json;

void print(const json::value& value, std::string& out);

void print(const json::object& object, std::string& out) {
  char separator = '{';
  for (const auto& [key, value] : object) {
    out += separator;
    out += json::serialize(key);
    out += ':';
    print(value, out);
    separator = ',';
  }
  out += object.empty() ? "{}" : "}";
}

void print(const json::array& array, std::string& out) {
  char separator = '[';
  for (const auto& value : array) {
    out += separator;
    print(value, out);
    separator = ',';
  }
  out += array.empty() ? "[]" : "]";
}

void print(const json::value& value, std::string& out) {
  if (const auto* object = value.if_object()) return print(*object, out);
  if (const auto* array = value.if_array()) return print(*array, out);
  const auto* number = value.if_double();
  if (number == nullptr) {
    out += json::serialize(value);
    return;
  }
  // Every figure here is small and finite: the shortest text that reads back as the same number.
  std::array<char, 64> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), *number,
                                 std::chars_format::fixed);
  out.append(digits.data(), end.ptr);
}

}  // namespace

std::string json_text(const json::value& value) {
  std::string out;
  print(value, out);
  return out;
}

}  // namespace gpuward::xray
