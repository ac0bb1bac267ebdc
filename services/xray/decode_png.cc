#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string>

#include "xray/decode.h"

// libpng reports an error by longjmp. The function that calls setjmp therefore owns nothing with a
// destructor: all memory belongs to the caller's Job.
namespace gpuward::xray {
namespace {

struct Job {
  std::span<const std::byte> bytes;
  std::size_t at = 0;
  std::stop_token cancel;
  std::uint32_t width = 0, height = 0;
  bool wide = false;  // 16 bits a sample
  std::vector<std::uint8_t> rows;
  char reason[120] = "";
  bool stopped = false;
};

void read_bytes(png_structp png, png_bytep out, std::size_t count) {
  auto* job = static_cast<Job*>(png_get_io_ptr(png));
  if (count > job->bytes.size() - job->at) png_error(png, "the file ends too early");
  std::memcpy(out, job->bytes.data() + job->at, count);
  job->at += count;
}

[[noreturn]] void on_error(png_structp png, png_const_charp text) {
  auto* job = static_cast<Job*>(png_get_error_ptr(png));
  std::snprintf(job->reason, sizeof job->reason, "%s", text);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

// To one grey sample a pixel of 8 or 16 bits, whatever the file has.
void ask_for_grey(png_structp png, png_infop info, Job* job) {
  const auto depth = png_get_bit_depth(png, info);
  const auto colour = png_get_color_type(png, info);
  job->wide = depth == 16;
  png_set_expand(png);
  if (job->wide) png_set_swap(png);  // little endian in memory
  png_set_strip_alpha(png);
  if ((colour & PNG_COLOR_MASK_COLOR) != 0) png_set_rgb_to_gray_fixed(png, 1, -1, -1);
}

bool run(png_structp png, png_infop info, Job* job) {
  if (setjmp(png_jmpbuf(png)) != 0)
    return false;  // NOLINT(cert-err52-cpp): the library's interface
  png_set_read_fn(png, job, read_bytes);
  png_set_user_limits(png, job->width, job->height);
  png_set_chunk_malloc_max(png, 8U << 20U);  // text and profile chunks must not grow without bound
  png_set_chunk_cache_max(png, 64);
  png_read_info(png, info);
  ask_for_grey(png, info, job);
  const int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  const std::size_t row_bytes = std::size_t{job->width} * (job->wide ? 2 : 1);
  if (png_get_rowbytes(png, info) != row_bytes) png_error(png, "unexpected row size");
  job->rows.resize(row_bytes * job->height);
  for (int pass = 0; pass < passes; ++pass) {
    for (std::uint32_t y = 0; y < job->height; ++y) {
      if (y % 64 == 0 && job->cancel.stop_requested()) {
        job->stopped = true;
        return false;
      }
      png_read_row(png, job->rows.data() + row_bytes * y, nullptr);
    }
  }
  png_read_end(png, nullptr);
  return true;
}

}  // namespace

Outcome<std::vector<std::uint8_t>> detail::decode_png(std::span<const std::byte> bytes,
                                                      const FilmHeader& header,
                                                      const std::stop_token& cancel) {
  Job job;
  job.bytes = bytes;
  job.cancel = cancel;
  job.width = header.width;
  job.height = header.height;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning);
  png_infop info = png != nullptr ? png_create_info_struct(png) : nullptr;
  const bool done = info != nullptr && run(png, info, &job);
  png_destroy_read_struct(&png, &info, nullptr);
  if (job.stopped) return cancelled();
  if (!done)
    return refuse(422, "damaged_film", std::string("the PNG cannot be decoded: ") + job.reason);
  if (!job.wide) return std::move(job.rows);
  const auto* samples = reinterpret_cast<const std::uint16_t*>(job.rows.data());
  return to_eight_bits({samples, job.rows.size() / 2});
}

}  // namespace gpuward::xray
