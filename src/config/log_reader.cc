#include "config/log_reader.h"

#include <chrono>

namespace gpuward::config {
namespace {

using namespace std::chrono_literals;

constexpr Range kAge{1h, 3650 * 24h, "1h to 3650d"};
constexpr Sizes kSize{4_KiB, 1024_GiB, "4KiB to 1TiB"};
constexpr Sizes kRate{1_KiB, 1024_GiB, "1KiB/s to 1TiB/s"};

}  // namespace

void read_log(TableReader& service, LogPolicy& log) {
  const Node* table =
      service.subtable("log", R"(a table: { size = "64MiB", age = "14d", total = "1GiB" })");
  if (table == nullptr) return;
  service.bytes(*table, "log", "size", kSize, log.size);
  service.bytes(*table, "log", "total", kSize, log.total);
  service.bytes(*table, "log", "rate", kRate, log.rate, "/s");
  service.duration(*table, "log", "age", kAge, log.age);
  service.truth(*table, "log", "times", log.times);
  if (log.total.count >= log.size.count) return;
  const bool at_total = table->find("total") != nullptr;
  service.add(service.origin().of(at_total ? "log.total" : "log.size"),
              "'log.total' (" + to_string(log.total) + ") is less than 'log.size' (" +
                  to_string(log.size) + ")",
              "size <= total");
}

}  // namespace gpuward::config
