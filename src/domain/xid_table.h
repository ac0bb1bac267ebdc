#pragma once

#include <cstdint>
#include <string_view>

// What NVIDIA says of each Xid number: its catalogue for A100 and later (October 2025, as gpud
// carries it), cross-read with DCGM, the Kubernetes device plugin and the open kernel module.

namespace gpuward {

/// What kind of trouble an Xid number is.
enum class XidClass : std::uint8_t {
  unlisted = 0,       ///< not in the table: nothing is done by itself
  app = 1,            ///< the process in the line did it, or lost its context by it
  app_contained = 2,  ///< 94: a memory error that hit that process alone
  follow_on = 3,      ///< 43, 45: the end of a channel, the echo of another Xid or of a kill
  reset = 4,          ///< the card needs a reset
  reboot = 5,         ///< the card is off the bus, or hands are needed
  memory = 6,         ///< the life of its memory: errors, remapped rows
  link = 7,           ///< NVLink: only services on several cards are concerned
  advice = 8,         ///< 154: the driver's recommendation has changed
  info = 9,
};
/// "app": a contract of the JSON output.
std::string_view to_string(XidClass xid_class);
/// By the table alone.
XidClass class_of(std::uint32_t xid);
/// "an exception in a kernel", for people; empty: its number says as much.
std::string_view meaning_of(std::uint32_t xid);
/// What the driver advises by NVML field 230, for people: "reset the card".
std::string_view advice_of(std::uint32_t recovery);

}  // namespace gpuward
