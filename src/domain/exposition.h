#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gpuward {

/// Writes Prometheus' text format 0.0.4. All samples of a family stand together below its head,
/// which is written before the first of them: a family without samples is not there.
class Exposition {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string>>;

  /// Begins a family; a counter's name ends in "_total".
  void gauge(std::string_view name, std::string_view help) { begin(name, help, "gauge"); }
  void counter(std::string_view name, std::string_view help) { begin(name, help, "counter"); }
  /// One sample of the family that was begun last.
  void sample(const Labels& labels, double value);
  std::string take() { return std::move(text_); }

 private:
  void begin(std::string_view name, std::string_view help, std::string_view type);
  std::string name_;
  std::string head_;  ///< not written yet
  std::string text_;
};

/// @p text as the value of a label: printable() (base/utf8.h), with what the format gives a meaning
/// escaped.
std::string label_value(std::string_view text);

}  // namespace gpuward
