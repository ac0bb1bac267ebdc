#include "tool/kernel_log.h"

#include <fcntl.h>

#include <cstdio>

#include "os/fd.h"

namespace gpuward::gpusim::tool {
namespace {

std::string usual_tail(unsigned xid) {
  switch (xid) {
    case 13:
      return "Graphics SM Warp Exception on (GPC 0, TPC 0, SM 0): Out Of Range Address";
    case 31:
      return "Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_0 faulted @ "
             "0x7f00_00000000. Fault is of type FAULT_PDE ACCESS_TYPE_VIRT_READ";
    case 48:
      return "An uncorrectable double bit error (DBE) has been detected on GPU in the framebuffer";
    case 63:
      return "Row Remapper: New row marked for remapping, reset gpu to activate.";
    case 64:
      return "Row Remapper: failed to remap a row.";
    case 79:
      return "GPU has fallen off the bus.";
    case 94:
      return "Contained: SM (0x1). RST: No, D-RST: No";
    case 95:
      return "Uncontained: LTC TAG (0x2,0x0). RST: Yes, D-RST: No";
    case 119:
      return "Timeout after 6s of waiting for RPC response from GPU0 GSP! Expected function 76 "
             "(GSP_RM_CONTROL) (0x20800a4c 0x4).";
    case 120:
      return "GSP task exception: page fault (0xd) @ pc:0x0, task: 1";
    case 154:
      return recovery_tail(0, 1);
    default:
      return "Ch 00000008";
  }
}

const char* action_name(unsigned action) {
  constexpr const char* kNames[] = {"None",      "GPU Reset Required", "Node Reboot Required",
                                    "Drain P2P", "Drain and Reset",    "Recover IMEX Domain"};
  return action < std::size(kNames) ? kNames[action] : "Unknown";
}

}  // namespace

std::string recovery_tail(unsigned from, unsigned to) {
  char text[160];
  std::snprintf(text, sizeof text, "GPU recovery action changed from 0x%x (%s) to 0x%x (%s)", from,
                action_name(from), to, action_name(to));
  return text;
}

std::string xid_text(const XidLine& line) {
  char head[100];
  std::snprintf(head, sizeof head, "NVRM: Xid (PCI:0000:%02x:00", line.pci_bus);
  std::string text = head;
  if (line.instance) {
    std::snprintf(head, sizeof head, " GPU-I:%02u", *line.instance);
    text += head;
  }
  text += "): " + std::to_string(line.xid) + ", pid=";
  text += line.pid == 0 ? "'<unknown>', name=<unknown>"
                        : std::to_string(line.pid) + ", name=" + line.process;
  return text + ", " + (line.tail.empty() ? usual_tail(line.xid) : line.tail);
}

std::string fallen_off_text(unsigned pci_bus) {
  char text[200];
  std::snprintf(text, sizeof text,
                "NVRM: The NVIDIA GPU 0000:%02x:00.0\nNVRM: (PCI ID: 10de:2335) installed in this "
                "system has\nNVRM: fallen off the bus and is not responding to commands.",
                pci_bus);
  return text;
}

std::string kmsg_record(std::uint64_t sequence, std::uint64_t microseconds, std::string_view text) {
  constexpr unsigned kWarning = 4;  // printk's level where none is given
  std::string record = std::to_string(kWarning) + ',' + std::to_string(sequence) + ',' +
                       std::to_string(microseconds) + ",-;";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '\\') {
      record += c;
    } else {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned>(byte));
      record += escaped;
    }
  }
  return record + '\n';
}

Result<void> append(Session& session, const KernelLog& log, std::string_view text) {
  if (log.path.empty()) return {};
  const std::uint64_t sequence = session.state().header.kernel_lines.fetch_add(1);
  const std::string line =
      log.plain ? std::string(text) + '\n' : kmsg_record(sequence, monotonic_ns() / 1000, text);
  auto file = os::Fd::open(log.path, O_WRONLY | O_APPEND | O_CREAT, 0644);
  if (!file) return fail(file.error());
  return os::write_all(*file, std::string_view(line), log.path);
}

}  // namespace gpuward::gpusim::tool
