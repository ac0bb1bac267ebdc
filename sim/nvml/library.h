#pragma once

#include <atomic>
#include <cstdint>

#include "model/process_session.h"
#include "nvml/nvml_abi.h"

/// What the simulated NVML keeps inside its client's process: a count of initialisations.
/// NVML looks; it changes the state file only to end what dead processes left.
namespace gpuward::gpusim::nvml {

/// Behind an nvmlDevice_t: an element of an array, told apart by its address.
struct Handle {
  std::uint32_t index;
};
Handle* handle_of(unsigned index);

/// What every call begins with. @return 0, or the code that the call must return.
Return enter(const char* function);
/// The same for a call about a device. @param index  receives the device's number.
Return enter(const char* function, const Handle* device, unsigned& index);
/// 15 or 16 when the device is off the bus or needs a reset.
Return device_problem(unsigned index);

inline Session& session() {
  return process_session();
}
inline const DeviceEntry& device_entry(unsigned index) {
  return session().state().devices[index];
}

/// Copies @p text into a caller's buffer. 7 when it does not fit, as the real library.
Return put_text(const char* text, char* out, std::uint32_t length);

/// Adding this to a CLOCK_MONOTONIC time in us gives the civil time that NVML's time stamps are.
std::int64_t civil_offset_us();

}  // namespace gpuward::gpusim::nvml

#define GPUSIM_NVML_ENTER()                                                               \
  do {                                                                                    \
    if (const auto code = gpuward::gpusim::nvml::enter(__func__); code != 0) return code; \
  } while (false)

/// First line of a call about a device: defines `index`.
#define GPUSIM_NVML_DEVICE(handle)                                                            \
  unsigned index = 0;                                                                         \
  do {                                                                                        \
    if (const auto code = gpuward::gpusim::nvml::enter(__func__, handle, index); code != 0) { \
      return code;                                                                            \
    }                                                                                         \
  } while (false)
