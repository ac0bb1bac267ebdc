#include "xray/sniff.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "xray/bytes.h"
#include "xray/dicom_header.h"

namespace gpuward::xray {
namespace {

constexpr std::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);

std::unexpected<Problem> damaged(std::string reason) {
  return refuse(422, "damaged_film", std::move(reason));
}

// PNG, third edition, 11.2.1: the first chunk is IHDR, 13 bytes long.
Outcome<FilmHeader> sniff_png(ByteReader in) {
  in.skip(kPngSignature.size());
  const auto length = in.big32();
  const auto kind = in.text(4);
  FilmHeader header{.format = Format::png};
  header.width = in.big32();
  header.height = in.big32();
  header.bits = in.u8();
  const auto colour = in.u8();
  if (!in.good()) return damaged("the PNG ends inside its header");
  if (length != 13 || kind != "IHDR") return damaged("the PNG does not begin with its header");
  if (header.width == 0 || header.height == 0 || header.width > 0x7FFFFFFF ||
      header.height > 0x7FFFFFFF)
    return damaged("the PNG header gives an impossible size");
  static constexpr std::array<unsigned, 7> kChannels = {1, 0, 3, 1, 2, 0, 4};
  if (colour >= kChannels.size() || kChannels[colour] == 0)
    return damaged("the PNG header gives an unknown colour type");
  header.channels = kChannels[colour];
  return header;
}

bool is_frame_start(unsigned marker) {  // SOF0 to SOF15 without DHT, JPG and DAC
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

// ITU-T T.81, annex B: segments until the start of a frame, which holds the size.
Outcome<FilmHeader> sniff_jpeg(ByteReader in) {
  in.skip(2);
  while (in.good()) {
    if (in.u8() != 0xFF) return damaged("the JPEG has no valid segment where one must begin");
    unsigned marker = in.u8();
    while (marker == 0xFF && in.good()) marker = in.u8();  // fill bytes
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7)) continue;
    if (marker == 0xDA || marker == 0xD9) return damaged("the JPEG has no frame header");
    const unsigned length = in.big16();
    if (!in.good()) break;
    if (length < 2) return damaged("the JPEG has a segment of impossible length");
    if (!is_frame_start(marker)) {
      in.skip(length - 2);
      continue;
    }
    FilmHeader header{.format = Format::jpeg};
    header.bits = in.u8();
    header.height = in.big16();
    header.width = in.big16();
    header.channels = in.u8();
    if (!in.good()) break;
    if (header.width == 0 || header.height == 0)
      return damaged("the JPEG header gives an impossible size");
    if (header.channels != 1 && header.channels != 3 && header.channels != 4)
      return damaged("the JPEG header gives an impossible number of components");
    return header;
  }
  return damaged("the JPEG ends inside its header");
}

}  // namespace

std::string_view to_string(Format format) {
  switch (format) {
    case Format::png:
      return "png";
    case Format::jpeg:
      return "jpeg";
    case Format::dicom:
      return "dicom";
  }
  return "unknown";
}

Outcome<FilmHeader> sniff(std::span<const std::byte> film) {
  if (film.empty()) return refuse(400, "no_film", "the request holds no film");
  const ByteReader in(film);
  if (in.starts_with(kPngSignature)) return sniff_png(in);
  if (in.starts_with("\xFF\xD8\xFF")) return sniff_jpeg(in);
  if (looks_like_dicom(film)) return sniff_dicom(film);
  return refuse(415, "not_a_film", "this is neither a PNG nor a JPEG nor a DICOM file");
}

Outcome<void> check_size(const FilmHeader& header, std::uint64_t max_pixels) {
  const auto [shorter, longer] = std::minmax(header.width, header.height);
  if (shorter < kShortestSide || longer / shorter >= 8)
    return refuse(422, "not_a_chest_film",
                  "the film is smaller than 64 pixels on a side, or eight times longer than wide",
                  {{"width", header.width}, {"height", header.height}});
  if (header.pixels() <= max_pixels) return {};
  std::array<char, 160> text{};
  std::snprintf(text.data(), text.size(),
                "the film has %u x %u = %.1f megapixels; this service takes at most %.1f",
                header.width, header.height, static_cast<double>(header.pixels()) / 1e6,
                static_cast<double>(max_pixels) / 1e6);
  return refuse(413, "too_many_pixels", text.data(),
                {{"width", header.width},
                 {"height", header.height},
                 {"pixels", header.pixels()},
                 {"limit_pixels", max_pixels}});
}

}  // namespace gpuward::xray
