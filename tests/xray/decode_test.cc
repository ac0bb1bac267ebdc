#include "xray/decode.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <string>

#include "made_films.h"
#include "xray/bytes.h"

namespace gpuward::xray {
namespace {

constexpr std::uint64_t kRoom = 64'000'000;

Outcome<Film> decoded(const std::string& bytes, std::uint64_t max_pixels = kRoom) {
  return decode(as_bytes(bytes), max_pixels);
}

unsigned status_of(const std::string& bytes) {
  const auto film = decoded(bytes);
  return film ? 200 : film.error().status;
}

void expect_the_made_picture(const Film& film, int tolerance) {
  const auto width = film.header.width;
  for (std::uint32_t y = 0; y < film.header.height; ++y)
    for (std::uint32_t x = 0; x < width; ++x) {
      const int want = static_cast<int>((x + y) % 200);
      const int got = film.grey[std::size_t{y} * width + x];
      // The picture jumps from 199 to 0 along diagonals, where a JPEG cannot follow.
      if (tolerance > 0 && (want < 16 || want > 184)) continue;
      ASSERT_LE(std::abs(got - want), tolerance) << "at " << x << ", " << y;
    }
}

TEST(Decode, TheTwelveFilms) {
  struct Known {
    const char* name;
    std::uint32_t width, height;
    Format format;
  };
  static constexpr Known kFilms[] = {
      {"nih_00000001_000.png", 1024, 1024, Format::png},
      {"nih_00000003_000.png", 1024, 1024, Format::png},
      {"nih_00000047_005.png", 1024, 1024, Format::png},
      {"nih_00000050_000.png", 1024, 1024, Format::png},
      {"nih_00000053_001.png", 1024, 1024, Format::png},
      {"nih_00000054_004.png", 1024, 1024, Format::png},
      {"mhh_fff13f3a.png", 640, 691, Format::png},
      {"mhh_b343e657.png", 640, 524, Format::png},
      {"mhh_88859dc1.png", 640, 714, Format::png},
      {"derived_nih_00000047_005.jpg", 1024, 1024, Format::jpeg},
      {"derived_nih_00000050_000_4096.jpg", 4096, 4096, Format::jpeg},
#ifdef GPUWARD_WITH_DICOM
      {"derived_nih_00000054_004.dcm", 1024, 1024, Format::dicom},
#endif
  };
  for (const auto& known : kFilms) {
    const auto film = decoded(film_bytes(known.name));
    ASSERT_TRUE(film) << known.name << ": " << film.error().reason;
    EXPECT_EQ(film->header.width, known.width) << known.name;
    EXPECT_EQ(film->header.height, known.height) << known.name;
    EXPECT_EQ(film->header.format, known.format) << known.name;
    EXPECT_EQ(film->grey.size(), film->header.pixels()) << known.name;
  }
}

TEST(Decode, EveryKindOfPngGivesTheSamePicture) {
  for (const int colour : {0, 2, 6})
    for (const int bits : {8, 16})
      for (const bool interlaced : {false, true}) {
        const auto film = decoded(make_png(200, 120, {colour, bits, interlaced}));
        ASSERT_TRUE(film) << film.error().reason;
        EXPECT_EQ(film->header.bits, static_cast<unsigned>(bits));
        if (bits == 8) {
          expect_the_made_picture(*film, 0);
        } else {
          EXPECT_EQ(film->grey[199], 255) << "16 bits are spread to the full range";
        }
      }
}

TEST(Decode, SixteenBitsThatUseTwelveAreSpread) {
  const auto film = decoded(make_png(200, 120, {0, 16, false}, 20));
  ASSERT_TRUE(film);
  EXPECT_EQ(film->grey[0], 0);
  EXPECT_EQ(film->grey[199], 255);
}

TEST(Decode, BaselineAndProgressiveJpeg) {
  for (const bool progressive : {false, true}) {
    const auto film = decoded(make_jpeg(200, 120, progressive));
    ASSERT_TRUE(film) << film.error().reason;
    expect_the_made_picture(*film, 12);
  }
}

TEST(Decode, FilmsCutOffAnywhereAreRefused) {
  for (const auto& whole : {film_bytes("mhh_b343e657.png"), make_png(200, 120, {0, 8, true}),
                            make_jpeg(200, 120, false), make_jpeg(200, 120, true)}) {
    const auto step = std::max<std::size_t>(whole.size() / 97, 1);
    for (std::size_t size = 16; size + 20 < whole.size(); size += step)
      EXPECT_EQ(status_of(whole.substr(0, size)), 422U) << size << " of " << whole.size();
  }
}

TEST(Decode, NoiseNeverCrashesAndIsNeverAFilm) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string noise(random() % 4096 + 1, '\0');
    for (auto& c : noise) c = static_cast<char>(random());
    const auto status = status_of(noise);
    EXPECT_TRUE(status == 415 || status == 422) << status;
  }
}

TEST(Decode, DamagedBytesNeverCrash) {
  std::mt19937 random(11);
  for (const auto& whole :
       {make_png(200, 120), make_jpeg(200, 120, false), make_jpeg(200, 120, true)})
    for (int round = 0; round < 150; ++round) {
      auto bytes = whole;
      for (int hit = 0; hit < 4; ++hit)
        bytes[random() % bytes.size()] = static_cast<char>(random());
      const auto film = decoded(bytes);
      if (film) {
        EXPECT_EQ(film->grey.size(), film->header.pixels());
      }
    }
}

TEST(Decode, AHugeClaimIsRefusedWithTheNumbersBeforeAnythingIsDecoded) {
  const auto film = decoded(png_header(10000, 10000));
  ASSERT_FALSE(film);
  EXPECT_EQ(film.error().status, 413U);
  EXPECT_EQ(film.error().reason,
            "the film has 10000 x 10000 = 100.0 megapixels; this service takes at most 64.0");
  EXPECT_EQ(film.error().numbers[2], (std::pair<std::string, std::uint64_t>("pixels", 100000000)));
}

TEST(Decode, ShapesThatNoFilmHasAreRefused) {
  EXPECT_EQ(status_of(make_png(63, 200)), 422U);
  EXPECT_EQ(status_of(make_png(64, 600)), 422U);
}

TEST(Decode, OtherFilesAreNamedAsWhatTheyAreNot) {
  const auto film = decoded("%PDF-1.7 and so on");
  ASSERT_FALSE(film);
  EXPECT_EQ(film.error().status, 415U);
  EXPECT_EQ(film.error().reason, "this is neither a PNG nor a JPEG nor a DICOM file");
  EXPECT_EQ(status_of(""), 400U);
}

TEST(Decode, StopsWhenTheClientHasLeft) {
  std::stop_source gone;
  gone.request_stop();
  for (const auto& bytes : {make_png(200, 120), make_jpeg(200, 120, true)}) {
    const auto film = decode(as_bytes(bytes), kRoom, gone.get_token());
    ASSERT_FALSE(film);
    EXPECT_EQ(film.error().status, 499U);
  }
}

#ifdef GPUWARD_WITH_DICOM
TEST(Dicom, GivesThePixelsOfItsPng) {
  const auto dicom = decoded(film_bytes("derived_nih_00000054_004.dcm"));
  const auto png = decoded(film_bytes("nih_00000054_004.png"));
  ASSERT_TRUE(dicom && png);
  EXPECT_EQ(dicom->grey, png->grey);
}

TEST(Dicom, MonochromeOneIsTurnedRound) {
  const auto straight = decoded(make_dicom(200, 120));
  const auto inverted = decoded(make_dicom(200, 120, {.photometric = "MONOCHROME1"}));
  ASSERT_TRUE(straight) << straight.error().reason;
  ASSERT_TRUE(inverted) << inverted.error().reason;
  expect_the_made_picture(*straight, 0);
  for (std::size_t i = 0; i < straight->grey.size(); ++i)
    ASSERT_EQ(inverted->grey[i], 255 - straight->grey[i]);
}

TEST(Dicom, TwelveBitsAreSpread) {
  const auto film = decoded(make_dicom(200, 120, {.bits = 12}));
  ASSERT_TRUE(film) << film.error().reason;
  EXPECT_EQ(film->header.bits, 12U);
  EXPECT_EQ(film->grey[199], 255);
}
#endif

TEST(Dicom, CutOffFilesSayHowMuchIsMissing) {
  const auto whole = film_bytes("derived_nih_00000054_004.dcm");
  const auto film = decoded(whole.substr(0, whole.size() / 2));
  ASSERT_FALSE(film);
  EXPECT_EQ(film.error().status, 422U);
  EXPECT_EQ(film.error().reason, "the DICOM file ends inside its pixels");
  ASSERT_EQ(film.error().numbers.size(), 2U);
  EXPECT_EQ(film.error().numbers[0].second, 1024U * 1024U);
  for (std::size_t size = 140; size < 1000; size += 7)
    EXPECT_EQ(status_of(whole.substr(0, size)), 422U) << size;
}

TEST(Dicom, WhatIsNotTakenIsNamed) {
  EXPECT_EQ(status_of(make_dicom(200, 120, {.syntax = "1.2.840.10008.1.2.1.99"})), 415U);
  EXPECT_EQ(status_of(make_dicom(200, 120, {.syntax = "1.2.840.10008.1.2.2"})), 415U);
  EXPECT_EQ(status_of(make_dicom(200, 120, {.frames = 3})), 415U);
}

}  // namespace
}  // namespace gpuward::xray
