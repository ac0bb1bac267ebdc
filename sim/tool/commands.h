#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "model/session.h"
#include "model/state_file.h"

/// What the gpusim tool does, apart from reading its command line.
namespace gpuward::gpusim::tool {

/// Opens the state file. The tool is a participant like any other.
/// @param for_change  take a slot too.
Result<void> open_state(Session& session, const std::string& path, bool for_change);

/// "1500ns", "50us" and everything that base's parse_duration knows, in ns.
std::optional<std::uint64_t> parse_time(std::string_view text);

Result<void> create(const std::string& path, const CreateOptions& options, bool force);
Result<void> destroy(const std::string& path);

std::string show_table(Session& session);
std::string show_json(Session& session, const std::string& path);

/// What most faults can be narrowed to.
struct Scope {
  int gpu = -1;  ///< -1: all
  int pid = 0;   ///< as seen from here; 0: all
};

Result<void> lose_context(Session& session, const Scope& scope, int code, bool keep_row);
/// Every following call of @p function answers @p code, or hangs.
struct CallFault {
  std::string function;
  std::uint32_t kind = kReturnCode;
  int code = 0;
  std::uint64_t delay_ns = 0;
  std::uint32_t times = kAlways;
};
Result<void> add_call_fault(Session& session, const Scope& scope, const CallFault& fault);
Result<void> set_return_delay(Session& session, const Scope& scope, std::uint64_t ns);
Result<void> set_rate(Session& session, const Scope& scope, std::uint32_t permille);
/// Sets flags of DeviceEntry.
Result<void> set_device_flags(Session& session, const Scope& scope, std::uint32_t flags);
Result<void> set_header_flags(Session& session, std::uint32_t flags);
Result<void> set_stride(Session& session, unsigned stride);
Result<void> add_foreign_rows(Session& session, const Scope& scope, std::uint64_t first_pid,
                              unsigned count, std::uint64_t bytes_each);
Result<void> add_phantom(Session& session, const Scope& scope, std::uint64_t bytes);
/// Tells NVML's event sets, and writes the driver's line to @p kmsg unless that is empty.
Result<void> raise_xid(Session& session, const Scope& scope, unsigned xid, const std::string& kmsg);
/// Everything as created. Contexts that were lost stay lost, as on a real card.
Result<void> heal(Session& session);

}  // namespace gpuward::gpusim::tool
