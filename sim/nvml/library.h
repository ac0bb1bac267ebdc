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
  std::uint32_t instance;  ///< kNoInstance: the card itself
};
Handle* handle_of(unsigned index);
/// Of a MIG instance.
Handle* handle_of(unsigned index, unsigned instance);
/// NVML's number of a MIG instance, as rows carry it; its compute instance is 0.
constexpr std::uint32_t gpu_instance_id(std::uint32_t instance) {
  return instance == kNoInstance ? kNoInstance : instance + 1;
}

/// What every call begins with. @return 0, or the code that the call must return.
Return enter(const char* function);
/// The same for a call about a device. @param index  receives the device's number.
/// A MIG handle is answered with "not supported".
Return enter(const char* function, const Handle* device, unsigned& index);
/// The same where MIG handles are welcome. @param instance  kNoInstance for a card.
Return enter(const char* function, const Handle* device, unsigned& index, std::uint32_t& instance);
/// May this process do what the real library allows only to root?
bool has_rights();
/// 15 or 16 when the device is off the bus or needs a reset.
Return device_problem(unsigned index);

inline Session& session() {
  return process_session();
}
inline const HealthEntry& health_entry(unsigned index) {
  return session().state().health[index];
}
inline const DeviceEntry& device_entry(unsigned index) {
  return session().state().devices[index];
}

/// Copies @p text into a caller's buffer. 7 when it does not fit, as the real library.
Return put_text(const char* text, char* out, std::uint32_t length);

/// Adding this to a CLOCK_MONOTONIC time in us gives the civil time that NVML's time stamps are.
std::int64_t civil_offset_us();
inline std::uint64_t civil_us(std::uint64_t monotonic) {
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(monotonic / 1000) +
                                    civil_offset_us());
}

template <class Number, class Value>
Return put(Number* out, Value value) {
  if (out == nullptr) return kInvalidArgument;
  *out = static_cast<Number>(value);
  return kSuccess;
}

constexpr unsigned percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return 0;
  return part >= whole ? 100 : static_cast<unsigned>(part * 100 / whole);
}

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

/// The same for a call that MIG handles may be given to: defines `index` and `instance`.
#define GPUSIM_NVML_INSTANCE(handle)                                                   \
  unsigned index = 0;                                                                  \
  std::uint32_t instance = gpuward::gpusim::kNoInstance;                               \
  do {                                                                                 \
    const auto code = gpuward::gpusim::nvml::enter(__func__, handle, index, instance); \
    if (code != 0) return code;                                                        \
  } while (false)
