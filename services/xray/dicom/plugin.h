#pragma once

#include <cstddef>
#include <cstdint>

// The door between the service and libgpuward-xray-dicom.so, which alone links GDCM: plain C, so
// that the two may be built with different C++ libraries. The service loads it when the first DICOM
// comes.

extern "C" {

enum GpuwardXrayDicomAnswer { kDicomDone = 0, kDicomDamaged = 1, kDicomUnsupported = 2 };

struct GpuwardXrayDicomRequest {
  const void* bytes;
  std::size_t size;
  std::uint32_t width;   ///< what the header said; another size is "damaged"
  std::uint32_t height;  ///< the same
  std::uint16_t* grey;   ///< width * height values of the caller's, filled in
  char* reason;          ///< a short text when the answer is not kDicomDone
  std::size_t reason_size;
};

/// Decodes one single-frame film to grey; signed values are shifted to begin at 0. Never throws.
int gpuward_xray_dicom_decode(const GpuwardXrayDicomRequest* request);
}
