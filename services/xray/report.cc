#include "xray/report.h"

#include <array>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace gpuward::xray {
namespace {

__attribute__((format(printf, 1, 2))) std::string text(const char* pattern, ...) {
  std::array<char, 600> buffer{};
  va_list values;
  va_start(values, pattern);
  std::vsnprintf(buffer.data(), buffer.size(), pattern, values);
  va_end(values);
  return buffer.data();
}

double percent(double share) {
  return share * 100;
}

const char* higher_side(int difference, Language language) {
  if (language == Language::chinese) return difference > 0 ? "左侧" : "右侧";
  return difference > 0 ? "left" : "right";
}

Report chinese_report(const Prepared& film, const Measures& m) {
  const auto& e = film.exposure;
  Report report;
  report.sections = {{
      {"thorax", "胸廓结构",
       text("图像 %u × %u 像素。胸廓内宽（两肺野外缘间距）%d 像素；两肺野面积比（对称度）%.2f。",
            film.header.width, film.header.height, m.thorax_width, m.symmetry)},
      {"lungs", "肺部表现",
       text("图像左侧肺野占全片 %.1f%%，右侧占 %.1f%%；增强后平均灰度左 %.0f、右 %.0f（0–255）。",
            percent(m.left.area_share), percent(m.right.area_share), m.field_mean_left,
            m.field_mean_right)},
      {"diaphragm", "膈肌状态",
       m.diaphragm_difference == 0
           ? text("图像两侧膈面等高，均距上缘 %d 像素。", m.diaphragm_left)
           : text("膈面距上缘：图像左侧 %d 像素，右侧 %d 像素；%s高 %d 像素。", m.diaphragm_left,
                  m.diaphragm_right, higher_side(m.diaphragm_difference, Language::chinese),
                  std::abs(m.diaphragm_difference))},
      {"heart", "心影",
       text("心影最大横径 %d 像素，与胸廓内宽之比（心胸比）%.2f。", m.heart_width,
            m.heart_thorax_ratio)},
      {"mediastinum", "纵隔",
       text("上纵隔中位宽度 %d 像素，占胸廓内宽 %.1f%%。", m.mediastinum_width,
            percent(m.mediastinum_share))},
  }};
  report.summary = text(
      "曝光：平均灰度 %.1f，中位数 %d，第 5 至 95 百分位 %d–%d。肺野合计占 %.1f%%，对称度 %.2f，"
      "心胸比 %.2f。以上均为像素测量值，本服务仅演示推理服务的运行，不是诊断。",
      e.mean, e.percentile_50, e.percentile_5, e.percentile_95,
      percent(m.left.area_share + m.right.area_share), m.symmetry, m.heart_thorax_ratio);
  return report;
}

Report english_report(const Prepared& film, const Measures& m) {
  const auto& e = film.exposure;
  Report report;
  report.sections = {{
      {"thorax", "Thoracic structure",
       text(
           "The picture has %u x %u pixels. Inner width of the thorax (outer edge to outer edge of "
           "the lung fields): %d pixels. Smaller to larger field area (symmetry): %.2f.",
           film.header.width, film.header.height, m.thorax_width, m.symmetry)},
      {"lungs", "Lungs",
       text("The field on the picture's left covers %.1f %% of the film, the right one %.1f %%; "
            "mean "
            "grey inside after enhancement: left %.0f, right %.0f (0 to 255).",
            percent(m.left.area_share), percent(m.right.area_share), m.field_mean_left,
            m.field_mean_right)},
      {"diaphragm", "Diaphragm",
       m.diaphragm_difference == 0
           ? text("Both sides stand equally high, %d pixels from the top.", m.diaphragm_left)
           : text("Distance of the floor from the top: %d pixels on the picture's left, %d on its "
                  "right; the %s one stands %d pixels higher.",
                  m.diaphragm_left, m.diaphragm_right,
                  higher_side(m.diaphragm_difference, Language::english),
                  std::abs(m.diaphragm_difference))},
      {"heart", "Heart shadow",
       text("Largest width %d pixels; heart-thorax ratio %.2f.", m.heart_width,
            m.heart_thorax_ratio)},
      {"mediastinum", "Mediastinum",
       text("Median width in the upper third %d pixels, %.1f %% of the inner width of the thorax.",
            m.mediastinum_width, percent(m.mediastinum_share))},
  }};
  report.summary = text(
      "Exposure: mean grey %.1f, median %d, 5th to 95th percentile %d to %d. Lung fields together "
      "%.1f %% of the film, symmetry %.2f, heart-thorax ratio %.2f. All figures are measured on "
      "pixels; this service demonstrates serving and is no diagnosis.",
      e.mean, e.percentile_50, e.percentile_5, e.percentile_95,
      percent(m.left.area_share + m.right.area_share), m.symmetry, m.heart_thorax_ratio);
  return report;
}

// A film whose fields do not separate still gets what can be said: its size and exposure.
Report report_without_fields(const Prepared& film, Language language) {
  const auto& e = film.exposure;
  const bool chinese = language == Language::chinese;
  const std::string missing = chinese
                                  ? "本片未能分离出两侧肺野，此项未测量。"
                                  : "Two lung fields do not separate on this film; not measured.";
  Report report = chinese ? chinese_report(film, {}) : english_report(film, {});
  for (auto& section : report.sections) section.text = missing;
  report.sections[0].text =
      text(chinese ? "图像 %u × %u 像素。" : "The picture has %u x %u pixels. ", film.header.width,
           film.header.height) +
      missing;
  report.summary = text(
      chinese ? "曝光：平均灰度 %.1f，中位数 %d，第 5 至 95 百分位 %d–%d。未能分离出两侧肺野。"
                "以上均为像素测量值，本服务仅演示推理服务的运行，不是诊断。"
              : "Exposure: mean grey %.1f, median %d, 5th to 95th percentile %d to %d. Two lung "
                "fields do not separate on this film. All figures are measured on pixels; this "
                "service demonstrates serving and is no diagnosis.",
      e.mean, e.percentile_50, e.percentile_5, e.percentile_95);
  return report;
}

}  // namespace

Report write_report(const Prepared& prepared, const Measures& measures, Language language) {
  if (!measures.fields_found) return report_without_fields(prepared, language);
  return language == Language::chinese ? chinese_report(prepared, measures)
                                       : english_report(prepared, measures);
}

std::string_view notice(Language language) {
  return language == Language::chinese
             ? "本服务只用于演示推理服务的运行：所有数字都是像素测量值，不是诊断，不得用于医疗。"
             : "This service demonstrates serving. Its figures are measured on pixels; it is no "
               "diagnosis and not for medical use.";
}

}  // namespace gpuward::xray
