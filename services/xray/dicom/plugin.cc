#include "plugin.h"

#include <gdcmImageReader.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <istream>
#include <streambuf>
#include <vector>

namespace {

// GDCM reads streams; this one looks at the caller's bytes without copying them.
class Bytes : public std::streambuf {
 public:
  Bytes(const void* data, std::size_t size) {
    char* begin =
        const_cast<char*>(static_cast<const char*>(data));  // never written: no overflow()
    setg(begin, begin, begin + size);
  }

 protected:
  pos_type seekoff(off_type by, std::ios_base::seekdir from, std::ios_base::openmode) override {
    off_type at = by;
    if (from == std::ios_base::cur) at += gptr() - eback();
    if (from == std::ios_base::end) at += egptr() - eback();
    if (at < 0 || at > egptr() - eback()) return off_type(-1);
    setg(eback(), eback() + at, egptr());
    return at;
  }
  pos_type seekpos(pos_type at, std::ios_base::openmode mode) override {
    return seekoff(off_type(at), std::ios_base::beg, mode);
  }
};

int answer(const GpuwardXrayDicomRequest& request, GpuwardXrayDicomAnswer what,
           const char* reason) {
  std::snprintf(request.reason, request.reason_size, "%s", reason);
  return what;
}

// One stored sample as an unsigned value that keeps the order: signed ones are shifted up.
template <class Sample>
void samples_to_grey(const char* raw, std::size_t pixels, int per_pixel, bool planar,
                     std::uint16_t* grey) {
  constexpr std::int32_t kShift = std::is_signed_v<Sample> ? 1 << (8 * sizeof(Sample) - 1) : 0;
  auto sample = [&](std::size_t index) {
    Sample value;
    std::memcpy(&value, raw + index * sizeof(Sample), sizeof value);
    return static_cast<std::uint32_t>(value + kShift);
  };
  for (std::size_t i = 0; i < pixels; ++i) {
    if (per_pixel == 1) {
      grey[i] = static_cast<std::uint16_t>(sample(i));
      continue;
    }
    const std::size_t step = planar ? pixels : 1;
    const std::size_t first = planar ? i : 3 * i;
    // ITU-R BT.601 luma in 16-bit fixed point
    grey[i] = static_cast<std::uint16_t>((sample(first) * 19595U + sample(first + step) * 38470U +
                                          sample(first + 2 * step) * 7471U) >>
                                         16U);
  }
}

int convert(const GpuwardXrayDicomRequest& request, const gdcm::Image& image,
            const std::vector<char>& raw) {
  const auto& format = image.GetPixelFormat();
  const std::size_t pixels = std::size_t{request.width} * request.height;
  const int samples = format.GetSamplesPerPixel();
  const bool planar = samples == 3 && image.GetPlanarConfiguration() == 1;
  const std::size_t size = format.GetBitsAllocated() / 8U;
  if ((samples != 1 && samples != 3) || raw.size() < pixels * size * static_cast<unsigned>(samples))
    return answer(request, kDicomDamaged, "the picture is smaller than its header says");
  switch (format.GetScalarType()) {
    case gdcm::PixelFormat::UINT8:
      samples_to_grey<std::uint8_t>(raw.data(), pixels, samples, planar, request.grey);
      break;
    case gdcm::PixelFormat::INT8:
      samples_to_grey<std::int8_t>(raw.data(), pixels, samples, planar, request.grey);
      break;
    case gdcm::PixelFormat::UINT12:
    case gdcm::PixelFormat::UINT16:
      samples_to_grey<std::uint16_t>(raw.data(), pixels, samples, planar, request.grey);
      break;
    case gdcm::PixelFormat::INT12:
    case gdcm::PixelFormat::INT16:
      samples_to_grey<std::int16_t>(raw.data(), pixels, samples, planar, request.grey);
      break;
    default:
      return answer(request, kDicomUnsupported, "pixels of a kind that is not taken");
  }
  return kDicomDone;
}

int decode(const GpuwardXrayDicomRequest& request) {
  Bytes bytes(request.bytes, request.size);
  std::istream stream(&bytes);
  gdcm::ImageReader reader;
  reader.SetStream(stream);
  if (!reader.Read()) return answer(request, kDicomDamaged, "GDCM cannot read it");
  const gdcm::Image& image = reader.GetImage();
  if (image.GetNumberOfDimensions() != 2 || image.GetDimension(0) != request.width ||
      image.GetDimension(1) != request.height)
    return answer(request, kDicomDamaged, "its picture has another size than its header");
  // A colour table would have to be applied first.
  if (image.GetPhotometricInterpretation() == gdcm::PhotometricInterpretation::PALETTE_COLOR)
    return answer(request, kDicomUnsupported, "palette colours are not taken");
  const std::size_t pixels = std::size_t{request.width} * request.height;
  if (image.GetBufferLength() > pixels * 6)
    return answer(request, kDicomDamaged, "its pixels need more room than its header says");
  std::vector<char> raw(image.GetBufferLength());
  if (!image.GetBuffer(raw.data()))
    return answer(request, kDicomDamaged, "GDCM cannot decode its pixels");
  return convert(request, image, raw);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int gpuward_xray_dicom_decode(
    const GpuwardXrayDicomRequest* request) {
  try {
    return decode(*request);
  } catch (const std::exception& error) {
    return answer(*request, kDicomDamaged, "GDCM gave up");
  }
}
