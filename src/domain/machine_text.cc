#include "domain/machine_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <utility>

namespace gpuward {
namespace {

constexpr std::string_view kBlank = " \t\r";

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::string_view take_line(std::string_view& text) {
  const auto line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(line.size() + 1, text.size()));
  return line;
}

std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlank), line.size()));
  const auto word = line.substr(0, line.find_first_of(kBlank));
  line.remove_prefix(word.size());
  return word;
}

std::optional<std::uint64_t> number_of(std::string_view digits) {
  std::uint64_t value = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (code != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Reads apt.conf(5) piece by piece.
class AptReader {
 public:
  explicit AptReader(std::string_view text) : rest_(text) {}

  std::vector<AptSetting> read() {
    while (settings_.size() < kMost && step()) {
    }
    return std::move(settings_);
  }

 private:
  static constexpr std::size_t kMost = 10'000;
  static constexpr std::size_t kDeepest = 16;

  bool step() {
    if (rest_.empty()) return false;
    const char c = rest_.front();
    if (rest_.starts_with("//") || c == '#') {
      take_line(rest_);
    } else if (rest_.starts_with("/*")) {
      const auto end = rest_.find("*/");
      rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 2);
    } else if (c == '"') {
      quoted();
    } else if (c == '{') {
      rest_.remove_prefix(1);
      if (scopes_.size() == kDeepest) return false;
      scopes_.push_back(std::exchange(name_, {}));
    } else if (c == '}') {
      rest_.remove_prefix(1);
      if (!scopes_.empty()) scopes_.pop_back();
      forget();
    } else if (c == ';') {
      rest_.remove_prefix(1);
      if (value_) add();
      forget();
    } else if (kBlank.find(c) != std::string_view::npos || c == '\n') {
      rest_.remove_prefix(1);
    } else {
      word();
    }
    return true;
  }
  void quoted() {
    rest_.remove_prefix(1);
    value_ = std::string(rest_.substr(0, rest_.find('"')));
    rest_.remove_prefix(std::min(value_->size() + 1, rest_.size()));
  }
  // A name, or a value that needs no quotes.
  void word() {
    const auto word =
        rest_.substr(0, std::max<std::size_t>(1, rest_.find_first_of(" \t\r\n;{}\"")));
    rest_.remove_prefix(word.size());
    if (name_.empty() && !value_)
      std::ranges::transform(word, std::back_inserter(name_), lower);
    else
      value_ = std::string(word);
  }
  void add() {
    std::string path;
    for (const auto& scope : scopes_) path += scope + "::";
    settings_.push_back({path + name_, *value_});
  }
  void forget() { name_.clear(), value_.reset(); }

  std::string_view rest_;
  std::vector<std::string> scopes_;
  std::string name_;
  std::optional<std::string> value_;
  std::vector<AptSetting> settings_;
};

}  // namespace

std::vector<SwapArea> parse_swaps(std::string_view text) {
  std::vector<SwapArea> areas;
  take_line(text);  // the head
  while (!text.empty()) {
    auto line = take_line(text);
    const auto name = take_word(line);
    take_word(line);  // partition or file
    const auto size = number_of(take_word(line));
    const auto used = number_of(take_word(line));
    if (name.empty() || !size || !used || *size > UINT64_MAX >> 10 || *used > UINT64_MAX >> 10)
      continue;
    areas.push_back({std::string(name), {*size << 10}, {*used << 10}});
  }
  return areas;
}

std::vector<AptSetting> parse_apt_conf(std::string_view text) {
  return AptReader(text).read();
}

bool is_driver_package(std::string_view name) {
  static constexpr std::array<std::string_view, 15> kBegins = {
      "nvidia-driver",      "nvidia-kernel-", "nvidia-dkms-",           "nvidia-utils-",
      "nvidia-headless-",   "nvidia-open",    "nvidia-firmware-",       "nvidia-compute-utils-",
      "libnvidia-compute-", "libnvidia-ml1",  "linux-modules-nvidia",   "linux-objects-nvidia",
      "cuda-drivers",       "libcuda1",       "linux-signatures-nvidia"};
  return std::ranges::any_of(kBegins, [&](auto begin) { return name.starts_with(begin); });
}

std::vector<DriverPackage> parse_driver_packages(std::string_view dpkg_status) {
  std::vector<DriverPackage> packages;
  std::string_view name;
  while (!dpkg_status.empty()) {
    const auto line = take_line(dpkg_status);
    if (line.starts_with("Package:"))
      name = trimmed(line.substr(8));
    else if (line.starts_with("Status:") && line.ends_with(" installed") && is_driver_package(name))
      packages.push_back({std::string(name), trimmed(line.substr(7)).starts_with("hold ")});
  }
  return packages;
}

bool is_blacklisted(std::string_view package, const std::vector<std::string>& patterns) {
  return std::ranges::any_of(patterns, [&](std::string_view pattern) {
    if (pattern.starts_with('^')) pattern.remove_prefix(1);
    const auto special = pattern.find_first_of("$.*+?[](){}|\\^");
    const auto begin = pattern.substr(0, special);
    const bool whole = special != std::string_view::npos && pattern.substr(special) == "$";
    return whole ? package == begin : package.starts_with(begin);
  });
}

std::optional<std::string> ini_value(std::string_view text, std::string_view key) {
  std::optional<std::string> value;
  while (!text.empty()) {
    const auto line = trimmed(take_line(text));
    const auto equals = line.find('=');
    if (line.starts_with('#') || line.starts_with(';') || equals == std::string_view::npos)
      continue;
    if (trimmed(line.substr(0, equals)) == key)
      value = std::string(trimmed(line.substr(equals + 1)));
  }
  return value;
}

std::string version_in(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find_first_of(" \t\r\n", at), text.size());
    const auto word = text.substr(at, end - at);
    at = end + 1;
    if (word.empty() || !is_digit(word.front()) || word.find('.') == std::string_view::npos)
      continue;
    if (std::ranges::all_of(word, [](char c) { return is_digit(c) || c == '.'; }))
      return std::string(word);
  }
  return {};
}

}  // namespace gpuward
