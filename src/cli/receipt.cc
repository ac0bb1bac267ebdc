#include "cli/receipt.h"

#include "domain/receipt.h"

namespace gpuward::cli {

std::string receipt_line(const std::string& service, const Receipt& receipt, bool looked) {
  return service + ": " + describe(receipt, looked);
}

void print_receipt(std::FILE* out, const std::string& service, const Receipt& receipt,
                   bool looked) {
  std::fprintf(out, "%s\n", receipt_line(service, receipt, looked).c_str());
}

void print_survivors(const std::string& service, const Receipt& receipt) {
  std::fprintf(stderr, "gpuward: not proven: processes of '%s' are left\n", service.c_str());
  for (const auto& survivor : receipt.survivors)
    std::fprintf(stderr, "  %s\n", describe(survivor).c_str());
  if (receipt.survivors.dropped() != 0)
    std::fprintf(stderr, "  and %zu more\n", receipt.survivors.dropped());
}

}  // namespace gpuward::cli
