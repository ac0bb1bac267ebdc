#include <cstdio>
// jpeglib.h needs FILE before it
#include <jerror.h>
#include <jpeglib.h>

#include <csetjmp>
#include <string>

#include "xray/decode.h"

// libjpeg reports an error by calling error_exit, which must not return: as in decode_png.cc, the
// function with setjmp owns nothing.
namespace gpuward::xray {
namespace {

// A progressive JPEG may hold any number of scans, each as costly as the whole picture; real
// encoders use about ten.
constexpr int kMaxScans = 64;

struct Job {
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf back{};
  std::span<const std::byte> bytes;
  std::stop_token cancel;
  std::uint32_t width = 0, height = 0;
  std::vector<std::uint8_t> rows;
  char reason[JMSG_LENGTH_MAX] = "";
  bool stopped = false;
};

Job* job_of(j_common_ptr decoder) {
  return static_cast<Job*>(decoder->client_data);
}

[[noreturn]] void on_error(j_common_ptr decoder) {
  Job* job = job_of(decoder);
  if (job->reason[0] == '\0') (*decoder->err->format_message)(decoder, job->reason);
  std::longjmp(job->back, 1);
}

[[noreturn]] void give_up(j_common_ptr decoder, const char* reason) {
  std::snprintf(job_of(decoder)->reason, JMSG_LENGTH_MAX, "%s", reason);
  on_error(decoder);
}

// Warnings are damage that the library can paint over; a film with invented pixels is no film.
void on_message(j_common_ptr decoder, int level) {
  if (level >= 0) return;
  const int code = decoder->err->msg_code;
  if (code == JWRN_JPEG_EOF) give_up(decoder, "the file ends too early");
  if (code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE) on_error(decoder);
}

void on_progress(j_common_ptr decoder) {
  Job* job = job_of(decoder);
  if (job->cancel.stop_requested()) {
    job->stopped = true;
    std::longjmp(job->back, 1);
  }
  if (reinterpret_cast<j_decompress_ptr>(decoder)->input_scan_number > kMaxScans)
    give_up(decoder, "it has too many scans");
}

bool run(jpeg_decompress_struct* decoder, Job* job) {
  if (setjmp(job->back) != 0) return false;  // NOLINT(cert-err52-cpp): the library's interface
  jpeg_create_decompress(decoder);
  decoder->client_data = job;
  decoder->progress = &job->progress;
  jpeg_mem_src(decoder, reinterpret_cast<const unsigned char*>(job->bytes.data()),
               job->bytes.size());
  jpeg_read_header(decoder, TRUE);
  if (decoder->image_width != job->width || decoder->image_height != job->height)
    give_up(reinterpret_cast<j_common_ptr>(decoder), "it holds two different sizes");
  decoder->out_color_space = JCS_GRAYSCALE;
  jpeg_start_decompress(decoder);
  job->rows.resize(std::size_t{job->width} * job->height);
  while (decoder->output_scanline < decoder->output_height) {
    JSAMPROW row = job->rows.data() + std::size_t{job->width} * decoder->output_scanline;
    jpeg_read_scanlines(decoder, &row, 1);
  }
  jpeg_finish_decompress(decoder);
  return true;
}

}  // namespace

Outcome<std::vector<std::uint8_t>> detail::decode_jpeg(std::span<const std::byte> bytes,
                                                       const FilmHeader& header,
                                                       const std::stop_token& cancel) {
  if (header.bits != 8) return refuse(415, "unsupported_film", "only JPEGs of 8 bits are taken");
  Job job;
  job.bytes = bytes;
  job.cancel = cancel;
  job.width = header.width;
  job.height = header.height;
  jpeg_decompress_struct decoder{};
  decoder.err = jpeg_std_error(&job.errors);
  decoder.client_data = &job;  // errors may come before run() sets it again
  job.errors.error_exit = on_error;
  job.errors.emit_message = on_message;
  job.progress.progress_monitor = on_progress;
  const bool done = run(&decoder, &job);
  jpeg_destroy_decompress(&decoder);
  if (job.stopped) return cancelled();
  if (!done)
    return refuse(422, "damaged_film", std::string("the JPEG cannot be decoded: ") + job.reason);
  return std::move(job.rows);
}

}  // namespace gpuward::xray
