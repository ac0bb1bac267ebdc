#include "made_films.h"

#include <cstdio>
// jpeglib.h needs FILE before it
#include <jpeglib.h>
#include <png.h>

#include <cstdlib>
#include <gtest/gtest.h>
#include <vector>

#include "os/fd.h"

namespace gpuward::xray {
namespace {

unsigned grey_at(std::uint32_t x, std::uint32_t y) {
  return (x + y) % 200;
}

void put16(std::string& out, unsigned value) {
  out += static_cast<char>(value & 0xFFU);
  out += static_cast<char>(value >> 8U);
}

// One explicit element, value padded to an even length as PS3.5, 7.1.1 asks.
void put_element(std::string& out, unsigned group, unsigned element, std::string_view vr,
                 std::string value, char pad = ' ') {
  if (value.size() % 2 != 0) value += pad;
  put16(out, group);
  put16(out, element);
  out += vr;
  if (vr == "OB" || vr == "OW") {
    put16(out, 0);
    put16(out, static_cast<unsigned>(value.size() & 0xFFFFU));
    put16(out, static_cast<unsigned>(value.size() >> 16U));
  } else {
    put16(out, static_cast<unsigned>(value.size()));
  }
  out += value;
}

std::string number16(unsigned value) {
  std::string text;
  put16(text, value);
  return text;
}

}  // namespace

std::string film_bytes(std::string_view name) {
  auto bytes = os::read_file(GPUWARD_FILMS + std::string(name), 64U << 20U);
  if (!bytes) {
    ADD_FAILURE() << bytes.error().message();
    return {};
  }
  return std::move(*bytes);
}

std::string make_png(std::uint32_t width, std::uint32_t height, PngLook look, int step) {
  std::string out;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &out,
      [](png_structp writer, png_bytep bytes, std::size_t count) {
        static_cast<std::string*>(png_get_io_ptr(writer))
            ->append(reinterpret_cast<char*>(bytes), count);
      },
      nullptr);
  png_set_IHDR(png, info, width, height, look.bits, look.colour,
               look.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, 0, 0);
  png_write_info(png, info);
  const unsigned channels = look.colour == 2 ? 3 : look.colour == 6 ? 4 : 1;
  std::vector<std::vector<png_byte>> rows(height);
  std::vector<png_bytep> pointers;
  for (std::uint32_t y = 0; y < height; ++y) {
    for (std::uint32_t x = 0; x < width; ++x) {
      for (unsigned c = 0; c < channels; ++c) {
        const unsigned grey = c == 3 ? 255 : grey_at(x, y);
        const unsigned wide = grey * static_cast<unsigned>(step);
        if (look.bits == 16) rows[y].push_back(static_cast<png_byte>(wide >> 8U));
        rows[y].push_back(static_cast<png_byte>(look.bits == 16 ? wide & 0xFFU : grey));
      }
    }
    pointers.push_back(rows[y].data());
  }
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return out;
}

std::string make_jpeg(std::uint32_t width, std::uint32_t height, bool progressive) {
  jpeg_compress_struct encoder{};
  jpeg_error_mgr errors{};
  encoder.err = jpeg_std_error(&errors);
  jpeg_create_compress(&encoder);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&encoder, &bytes, &size);
  encoder.image_width = width;
  encoder.image_height = height;
  encoder.input_components = 1;
  encoder.in_color_space = JCS_GRAYSCALE;
  jpeg_set_defaults(&encoder);
  jpeg_set_quality(&encoder, 95, TRUE);
  if (progressive) jpeg_simple_progression(&encoder);
  jpeg_start_compress(&encoder, TRUE);
  std::vector<JSAMPLE> row(width);
  for (std::uint32_t y = 0; y < height; ++y) {
    for (std::uint32_t x = 0; x < width; ++x) row[x] = static_cast<JSAMPLE>(grey_at(x, y));
    JSAMPROW pointer = row.data();
    jpeg_write_scanlines(&encoder, &pointer, 1);
  }
  jpeg_finish_compress(&encoder);
  jpeg_destroy_compress(&encoder);
  std::string out(reinterpret_cast<char*>(bytes), size);
  std::free(bytes);
  return out;
}

std::string png_header(std::uint32_t width, std::uint32_t height) {
  std::string out("\x89PNG\r\n\x1a\n\0\0\0\x0DIHDR", 16);
  for (const auto value : {width, height})
    for (unsigned shift = 24; shift < 32; shift -= 8) out += static_cast<char>(value >> shift);
  return out + std::string("\x08\x00\x00\x00\x00\0\0\0\0", 9);
}

std::string make_dicom(std::uint32_t width, std::uint32_t height, const DicomLook& look) {
  std::string meta;
  put_element(meta, 2, 0x0002, "UI", "1.2.840.10008.5.1.4.1.1.7", '\0');
  put_element(meta, 2, 0x0003, "UI", "1.2.3.4.5", '\0');
  put_element(meta, 2, 0x0010, "UI", look.syntax, '\0');
  std::string out(128, '\0');
  out += "DICM";
  std::string length = number16(static_cast<unsigned>(meta.size())) + number16(0);
  put_element(out, 2, 0x0000, "UL", length);
  out += meta;
  put_element(out, 8, 0x0016, "UI", "1.2.840.10008.5.1.4.1.1.7", '\0');
  put_element(out, 0x28, 0x0002, "US", number16(1));
  put_element(out, 0x28, 0x0004, "CS", look.photometric);
  if (look.frames != 1) put_element(out, 0x28, 0x0008, "IS", std::to_string(look.frames));
  put_element(out, 0x28, 0x0010, "US", number16(height));
  put_element(out, 0x28, 0x0011, "US", number16(width));
  put_element(out, 0x28, 0x0100, "US", number16(look.bits > 8 ? 16 : 8));
  put_element(out, 0x28, 0x0101, "US", number16(look.bits));
  put_element(out, 0x28, 0x0102, "US", number16(look.bits - 1));
  put_element(out, 0x28, 0x0103, "US", number16(0));
  std::string pixels;
  for (std::uint32_t y = 0; y < height; ++y)
    for (std::uint32_t x = 0; x < width; ++x) {
      if (look.bits > 8)
        put16(pixels, grey_at(x, y) * 20);
      else
        pixels += static_cast<char>(grey_at(x, y));
    }
  put_element(out, 0x7FE0, 0x0010, look.bits > 8 ? "OW" : "OB", pixels, '\0');
  return out;
}

}  // namespace gpuward::xray
