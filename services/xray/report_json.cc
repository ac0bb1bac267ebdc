#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cmath>

#include "xray/json_text.h"
#include "xray/report.h"

namespace gpuward::xray {
namespace {

namespace json = boost::json;

// Shares and means with four digits after the point: what was measured, not what a double can
// print.
double rounded(double value) {
  return std::round(value * 10000) / 10000;
}

json::object to_json(const LungField& field) {
  return {{"area_share", rounded(field.area_share)},
          {"left_pixels", field.left},
          {"right_pixels", field.right},
          {"top_pixels", field.top},
          {"bottom_pixels", field.bottom}};
}

json::object to_json(const Exposure& exposure) {
  return {{"mean", rounded(exposure.mean)},
          {"deviation", rounded(exposure.deviation)},
          {"percentile_1", exposure.percentile_1},
          {"percentile_5", exposure.percentile_5},
          {"percentile_50", exposure.percentile_50},
          {"percentile_95", exposure.percentile_95},
          {"percentile_99", exposure.percentile_99},
          {"black_share", rounded(exposure.black_share)},
          {"white_share", rounded(exposure.white_share)}};
}

json::object to_json(const Exposure& exposure, const Measures& m) {
  json::object measures{{"exposure", to_json(exposure)}, {"lung_fields_found", m.fields_found}};
  if (!m.fields_found) return measures;
  measures["lung_field_left"] = to_json(m.left);
  measures["lung_field_right"] = to_json(m.right);
  measures["lung_field_left_mean_grey"] = rounded(m.field_mean_left);
  measures["lung_field_right_mean_grey"] = rounded(m.field_mean_right);
  measures["symmetry"] = rounded(m.symmetry);
  measures["thorax_width_pixels"] = m.thorax_width;
  measures["heart_width_pixels"] = m.heart_width;
  measures["heart_thorax_ratio"] = rounded(m.heart_thorax_ratio);
  measures["mediastinum_width_pixels"] = m.mediastinum_width;
  measures["mediastinum_share"] = rounded(m.mediastinum_share);
  measures["diaphragm_left_pixels"] = m.diaphragm_left;
  measures["diaphragm_right_pixels"] = m.diaphragm_right;
  measures["diaphragm_difference_pixels"] = m.diaphragm_difference;
  return measures;
}

json::object to_json(const FilmHeader& header) {
  return {{"format", to_string(header.format)}, {"width_pixels", header.width},
          {"height_pixels", header.height},     {"bits", header.bits},
          {"channels", header.channels},        {"inverted", header.inverted}};
}

}  // namespace

std::string film_json(const Prepared& prepared, const Measures& measures, Language language,
                      const std::string& nonce) {
  const Report report = write_report(prepared, measures, language);
  json::array sections;
  for (const auto& section : report.sections)
    sections.push_back(
        json::object{{"id", section.id}, {"title", section.title}, {"text", section.text}});
  json::object answer;
  if (!nonce.empty()) answer["nonce"] = nonce;
  answer["film"] = to_json(prepared.header);
  answer["measures"] = to_json(prepared.exposure, measures);
  answer["report"] = json::object{{"sections", std::move(sections)}, {"summary", report.summary}};
  return json_text(answer);
}

}  // namespace gpuward::xray
