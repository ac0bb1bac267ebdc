#include "xray/measure.h"

#include <cmath>
#include <gtest/gtest.h>
#include <string>
#include <utility>

#include "made_films.h"
#include "xray/bytes.h"
#include "xray/regions.h"
#include "xray/report.h"

namespace gpuward::xray {
namespace {

Prepared prepared(const std::string& name) {
  auto film = decode(as_bytes(film_bytes(name)), 64'000'000);
  EXPECT_TRUE(film) << name;
  return film ? prepare(*film) : Prepared{};
}

// Two dark ellipses on a bright ground: all sizes are known.
Prepared drawn(int centre_left, int centre_right, int half_width, int half_height,
               int right_lower_by = 0) {
  constexpr int kSide = 1024;
  Film film{.header = {.width = kSide, .height = kSide}, .grey = {}};
  film.grey.assign(std::size_t{kSide} * kSide, 200);
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x)
      for (const auto& [centre, down] :
           {std::pair{centre_left, 0}, std::pair{centre_right, right_lower_by}}) {
        const double dx = static_cast<double>(x - centre) / half_width;
        const double dy = static_cast<double>(y - 450 - down) / half_height;
        if (dx * dx + dy * dy <= 1) film.grey[static_cast<std::size_t>(y * kSide + x)] = 40;
      }
  return prepare(film);
}

TEST(Measure, KnownShapesGiveTheirSizes) {
  const auto measures = measure(drawn(300, 724, 130, 260));
  ASSERT_TRUE(measures.fields_found);
  const double ellipse = 3.14159265 * 130 * 260 / (1024.0 * 1024.0);
  EXPECT_NEAR(measures.left.area_share, ellipse, 0.15 * ellipse);
  EXPECT_NEAR(measures.right.area_share, ellipse, 0.15 * ellipse);
  EXPECT_GT(measures.symmetry, 0.93);
  EXPECT_NEAR(measures.thorax_width, 724 + 130 - (300 - 130), 40);
  EXPECT_NEAR(measures.mediastinum_width, 240, 60) << "ellipses are narrower above their middle";
  EXPECT_NEAR(measures.diaphragm_difference, 0, 8);
}

TEST(Measure, ALowerFieldShowsInTheDiaphragm) {
  const auto measures = measure(drawn(300, 724, 130, 260, 60));
  ASSERT_TRUE(measures.fields_found);
  EXPECT_NEAR(measures.diaphragm_difference, 60, 16);
}

TEST(Measure, WithoutTwoFieldsItSaysSo) {
  Film film{.header = {.width = 512, .height = 512}, .grey = {}};
  film.grey.assign(std::size_t{512} * 512, 128);
  EXPECT_FALSE(measure(prepare(film)).fields_found);
}

TEST(Measure, FilmsGiveFiguresInTheirRanges) {
  for (const auto* name : {"nih_00000001_000.png", "nih_00000003_000.png", "nih_00000047_005.png",
                           "nih_00000050_000.png", "nih_00000053_001.png", "nih_00000054_004.png",
                           "mhh_fff13f3a.png", "mhh_b343e657.png"}) {
    const auto measures = measure(prepared(name));
    ASSERT_TRUE(measures.fields_found) << name;
    EXPECT_GT(measures.left.area_share, 0.025) << name;
    EXPECT_LT(measures.left.area_share + measures.right.area_share, 0.5) << name;
    EXPECT_GT(measures.symmetry, 0.25) << name;
    EXPECT_LE(measures.symmetry, 1.0) << name;
    EXPECT_GT(measures.heart_thorax_ratio, 0.15) << name;
    EXPECT_LT(measures.heart_thorax_ratio, 0.85) << name;
    EXPECT_LT(measures.left.right, measures.right.right) << name;
    EXPECT_LT(measures.mediastinum_share, 0.7) << name;
  }
}

TEST(Measure, TheSameFilmGivesTheSameTextByteForByte) {
  for (const auto* name : {"nih_00000003_000.png", "derived_nih_00000050_000_4096.jpg"}) {
    const auto first = prepared(name);
    const auto second = prepared(name);
    EXPECT_EQ(first.enhanced, second.enhanced);
    EXPECT_EQ(film_json(first, measure(first), Language::chinese, ""),
              film_json(second, measure(second), Language::chinese, ""));
  }
}

TEST(Measure, AJpegOfTheSameFilmMeasuresNearlyTheSame) {
  const auto png = measure(prepared("nih_00000047_005.png"));
  const auto jpeg = measure(prepared("derived_nih_00000047_005.jpg"));
  EXPECT_NEAR(png.heart_thorax_ratio, jpeg.heart_thorax_ratio, 0.02);
  EXPECT_NEAR(png.left.area_share, jpeg.left.area_share, 0.01);
}

TEST(Exposure, IsCountedFromTheHistogram) {
  std::vector<std::uint8_t> grey;
  for (int i = 0; i < 100; ++i) grey.push_back(static_cast<std::uint8_t>(i));
  const auto exposure = measure_exposure(grey);
  EXPECT_DOUBLE_EQ(exposure.mean, 49.5);
  EXPECT_EQ(exposure.percentile_1, 0);
  EXPECT_EQ(exposure.percentile_50, 49);
  EXPECT_EQ(exposure.percentile_99, 98);
  EXPECT_DOUBLE_EQ(exposure.black_share, 0.03);
  EXPECT_NEAR(exposure.deviation, 28.866, 0.001);
}

TEST(Regions, AreCountedWithTheirEdges) {
  const std::uint8_t mask[] = {1, 1, 0, 0, 0,  //
                               0, 0, 0, 1, 0,  //
                               0, 0, 1, 1, 0,  //
                               0, 0, 0, 0, 1};
  const auto regions = find_regions(mask, 5, 4);
  ASSERT_EQ(regions.size(), 3U) << "corners do not connect";
  EXPECT_EQ(regions[0].area, 2);
  EXPECT_EQ(regions[0].border_pixels, 2);
  EXPECT_EQ(regions[1].area, 3);
  EXPECT_EQ(regions[1].left, 2);
  EXPECT_EQ(regions[1].bottom, 2);
  EXPECT_EQ(regions[1].border_pixels, 0);
}

}  // namespace
}  // namespace gpuward::xray
