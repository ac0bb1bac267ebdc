#pragma once

#include <array>
#include <string>
#include <string_view>

#include "xray/language.h"
#include "xray/measure.h"

namespace gpuward::xray {

struct Section {
  std::string_view id;  ///< the same in every language: "thorax", "lungs", "diaphragm", ...
  std::string_view title;
  std::string text;
};

/// The text about one film. It repeats measured figures and judges nothing.
struct Report {
  std::array<Section, 5> sections;  ///< 胸廓结构, 肺部表现, 膈肌状态, 心影, 纵隔
  std::string summary;
};

Report write_report(const Prepared& prepared, const Measures& measures, Language language);

/// The sentence that stands in every answer: a demonstration of serving, no diagnosis.
std::string_view notice(Language language);

/// One film's part of the answer as JSON text: nonce (unless empty), film, measures, report.
/// Nothing in it depends on time: the same film gives the same text.
std::string film_json(const Prepared& prepared, const Measures& measures, Language language,
                      const std::string& nonce);

}  // namespace gpuward::xray
