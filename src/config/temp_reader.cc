#include "config/temp_reader.h"

#include <chrono>

namespace gpuward::config {
namespace {

using namespace std::chrono_literals;

constexpr Range kMaxAge{1s, 3650 * 24h, "1s to 3650d, or \"off\""};

}  // namespace

void read_private_tmp(TableReader& service, ServiceModel& model) {
  const Entry* entry = service.find("private_tmp");
  if (entry == nullptr) return;
  if (entry->value.kind == Kind::boolean) return service.truth("private_tmp", model.private_tmp);
  const Node* table =
      service.subtable("private_tmp", R"(true, false or a table: { max_age = "10d" })");
  if (table == nullptr) return;
  model.private_tmp = true;
  const Entry* age = table->find("max_age");
  const bool off = age != nullptr && age->value.kind == Kind::string && age->value.text == "off";
  std::chrono::milliseconds limit{};
  if (off)
    model.private_tmp_max_age.reset();
  else if (age != nullptr && service.duration(*table, "private_tmp", "max_age", kMaxAge, limit))
    model.private_tmp_max_age = limit;
}

}  // namespace gpuward::config
