#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "model/session.h"

/// What the driver writes to the kernel log when something happens to a card. The driver's words
/// are kept where readers look for them.
namespace gpuward::gpusim::tool {

/// An Xid line but for what depends on its number.
struct XidLine {
  unsigned pci_bus = 0;
  unsigned xid = 0;
  int pid = 0;                       ///< 0: the driver does not know
  std::string process;               ///< its name; of no meaning without a pid
  std::optional<unsigned> instance;  ///< MIG: number of the GPU instance
  std::string tail;                  ///< what follows the name; empty: as that Xid usually ends
};
/// "NVRM: Xid (PCI:0000:61:00): 45, pid=1234, name=python, Ch 0000000a"
std::string xid_text(const XidLine& line);
/// What stands after the name in a line of Xid 154. Actions: see nvml field 230.
std::string recovery_tail(unsigned from, unsigned to);
/// What newer drivers write instead of an Xid: one message of three lines.
std::string fallen_off_text(unsigned pci_bus);

/// A message as reading /dev/kmsg gives it: "4,SEQUENCE,MICROSECONDS,-;TEXT\n", with bytes that are
/// not printable as \xNN.
std::string kmsg_record(std::uint64_t sequence, std::uint64_t microseconds, std::string_view text);

/// Where such messages go.
struct KernelLog {
  std::string path;    ///< empty: nowhere
  bool plain = false;  ///< the text alone, as dmesg without time stamps prints it
};
/// Appends @p text by one write(2), so that lines of several writers do not mix.
Result<void> append(Session& session, const KernelLog& log, std::string_view text);

}  // namespace gpuward::gpusim::tool
