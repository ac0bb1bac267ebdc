#include "cli/receipt.h"

#include "base/utf8.h"
#include "domain/report.h"

namespace gpuward::cli {

std::string receipt_line(const std::string& service, const Receipt& receipt, bool looked) {
  std::string line = service + ": ended " + std::to_string(receipt.processes_ended) +
                     (receipt.processes_ended == 1 ? " process in " : " processes in ") +
                     to_string(std::chrono::nanoseconds(receipt.duration));
  if (receipt.forced) line += " (KILL was needed)";
  line += receipt.survivors.empty() ? ", none left"
                                    : ", " + std::to_string(receipt.survivors.size()) + " LEFT";
  if (receipt.only_seen) line += " of those seen";
  switch (receipt.memory) {
    case MemoryProof::returned:
      line += "; GPU memory back: " + to_string(receipt.gpu_bytes_returned);
      break;
    case MemoryProof::none:
      line += "; it held no GPU memory";
      break;
    case MemoryProof::not_visible:
      line += looked ? "; GPU memory cannot be seen here" : "; GPU memory was not looked at";
      break;
    case MemoryProof::held:
      line += "; GPU memory NOT back in time";
      break;
  }
  for (const auto port : receipt.ports_freed) line += "; port " + std::to_string(port) + " free";
  for (const auto port : receipt.ports_held)
    line += "; port " + std::to_string(port) + " taken by another program";
  if (receipt.ports_unknown) line += "; it may have had more ports, too many to look through";
  return line;
}

void print_receipt(std::FILE* out, const std::string& service, const Receipt& receipt,
                   bool looked) {
  std::fprintf(out, "%s\n", receipt_line(service, receipt, looked).c_str());
}

void print_survivors(const std::string& service, const Receipt& receipt) {
  std::fprintf(stderr, "gpuward: not proven: processes of '%s' are left\n", service.c_str());
  for (const auto& survivor : receipt.survivors) {
    std::fprintf(stderr, "  pid %d (%s), state %c", survivor.pid.number,
                 printable(survivor.name.view()).c_str(), static_cast<char>(survivor.state));
    if (!survivor.wchan.empty())
      std::fprintf(stderr, ", waits in %s", std::string(survivor.wchan.view()).c_str());
    std::fputc('\n', stderr);
  }
  if (receipt.survivors.dropped() != 0)
    std::fprintf(stderr, "  and %zu more\n", receipt.survivors.dropped());
}

}  // namespace gpuward::cli
