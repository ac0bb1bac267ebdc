#include "base/error.h"

namespace gpuward {
namespace {

class Category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "gpuward"; }
  std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::not_supported:
        return "not supported here";
      case Errc::timed_out:
        return "timed out";
      case Errc::bad_message:
        return "malformed data";
      case Errc::refused:
        return "refused";
      case Errc::not_found:
        return "not found";
      case Errc::not_proven:
        return "not proven";
      case Errc::unreachable:
        return "not reachable";
      case Errc::invalid:
        return "invalid value";
      case Errc::taken:
        return "taken";
    }
    return "unknown gpuward error";
  }
};

}  // namespace

const std::error_category& gpuward_category() {
  static const Category category;
  return category;
}

std::error_code make_error_code(Errc code) {
  return {static_cast<int>(code), gpuward_category()};
}

std::string Error::message() const {
  std::string text(doing.view());
  // The rule that forbids it, or who has it, stands in the text.
  const bool said = code == make_error_code(Errc::refused) || code == make_error_code(Errc::taken);
  if (!text.empty() && said) return text;
  if (!text.empty()) text += ": ";
  return text + code.message();
}

Error error_from(int errno_value, std::string_view verb, std::string_view object) {
  Error error(std::error_code(errno_value, std::system_category()), verb);
  if (!object.empty()) error.doing.append(" '").append(object).append("'");
  return error;
}

Error last_error(std::string_view verb, std::string_view object) {
  return error_from(errno, verb, object);
}

}  // namespace gpuward
