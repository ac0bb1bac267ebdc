#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <string>

#include "xray/decode.h"
#include "xray/dicom/plugin.h"

namespace gpuward::xray {
namespace {

using Decode = decltype(&gpuward_xray_dicom_decode);

// The plug-in lies beside the program and nowhere else: no search path may bring in another one.
std::string plugin_path() {
  std::array<char, PATH_MAX> self{};
  const auto length = ::readlink("/proc/self/exe", self.data(), self.size());
  if (length <= 0 || static_cast<std::size_t>(length) >= self.size()) return {};
  const std::string program(self.data(), static_cast<std::size_t>(length));
  return program.substr(0, program.rfind('/') + 1) + "libgpuward-xray-dicom.so";
}

// Loaded once, when the first DICOM comes, and kept; null when it cannot be.
Decode plugin() {
  static const Decode function = []() -> Decode {
    void* library = ::dlopen(plugin_path().c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return nullptr;
    return reinterpret_cast<Decode>(::dlsym(library, "gpuward_xray_dicom_decode"));
  }();
  return function;
}

}  // namespace

Outcome<std::vector<std::uint8_t>> detail::decode_dicom(std::span<const std::byte> bytes,
                                                        const FilmHeader& header) {
  const Decode decode = plugin();
  if (decode == nullptr)
    return refuse(503, "no_dicom",
                  "this installation cannot read DICOM: libgpuward-xray-dicom.so or a library it "
                  "needs is missing beside the program; send PNG or JPEG");
  std::vector<std::uint16_t> wide(header.pixels());
  std::array<char, 120> reason{};
  const GpuwardXrayDicomRequest request{bytes.data(), bytes.size(),  header.width, header.height,
                                        wide.data(),  reason.data(), reason.size()};
  const int answer = decode(&request);
  if (answer != kDicomDone)
    return refuse(answer == kDicomUnsupported ? 415 : 422,
                  answer == kDicomUnsupported ? "unsupported_film" : "damaged_film",
                  std::string("the DICOM file cannot be decoded: ") + reason.data());
  if (header.bits > 8) return to_eight_bits(wide);
  return std::vector<std::uint8_t>(wide.begin(), wide.end());
}

}  // namespace gpuward::xray
