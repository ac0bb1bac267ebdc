// What doctor reads of a machine: /proc/swaps, apt's configuration, dpkg's list, units, self-tests.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "domain/doctor.h"
#include "domain/doctor_gpu.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gpuward;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto& area : parse_swaps(text))
    if (area.name.empty()) std::abort();
  if (parse_apt_conf(text).size() > 10'000) std::abort();
  for (const auto& package : parse_driver_packages(text))
    if (!is_driver_package(package.name)) std::abort();
  (void)is_blacklisted(text.substr(0, size / 2), {std::string(text.substr(size / 2))});
  (void)unit_program(std::string(text));
  (void)version_in(text);
  const auto tests = parse_self_tests(text);
  if (check_self_tests(tests, "").size() > tests.size()) std::abort();
  UnitFacts unit;
  unit.systemd = true;
  unit.path = "x";
  unit.text = text;
  if (check_unit(unit).found.empty()) std::abort();
  return 0;
}
