#include "cli/doctor.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>

#include "base/utf8.h"
#include "cli/doctor_facts.h"
#include "cli/terminal.h"
#include "cli/warden_client.h"
#include "control/gpu_look.h"
#include "os/aside.h"
#include "os/clock.h"
#include "os/spawn.h"

namespace gpuward::cli {
namespace {

namespace json = boost::json;

constexpr auto kGpuWithin = std::chrono::seconds(4);  // a hung call is named after 2
constexpr auto kSelfTestWithin = std::chrono::seconds(4);
constexpr auto kFilesWithin = std::chrono::seconds(2);  // for all file systems together
constexpr auto kOursWithin = std::chrono::seconds(3);   // for the warden and all anchors

void add(std::vector<Finding>& all, std::vector<Finding> more) {
  std::ranges::move(more, std::back_inserter(all));
}

// The driver may hang in the tests, and a program that hangs there cannot even be waited for.
std::vector<Finding> self_test() {
  const auto program = os::sibling_program("gpuward-sentinel");
  if (!program) return check_self_tests({}, program.error().message());
  const Instant deadline = os::now() + kSelfTestWithin;
  const auto answer = os::run_aside(
      [&] {
        const auto lines = os::run_and_read(*program, {"--self-test"}, deadline);
        return lines ? "+" + *lines : lines.error().message();
      },
      deadline);
  if (!answer) return check_self_tests({}, "they do not come back");
  if (!answer->starts_with('+')) return check_self_tests({}, *answer);
  return check_self_tests(parse_self_tests(std::string_view(*answer).substr(1)), {});
}

void look_at_gpu_side(const std::string& root, std::vector<Finding>& all) {
  auto driver = look_at_driver_files(root);
  driver.look = control::look_at_gpus(os::now() + kGpuWithin);
  all.push_back(check_driver(driver));
  add(all, check_cards(driver.look));
  add(all, check_lists(driver.look));
  if (driver.look.sight == GpuSight::visible) add(all, self_test());
  all.push_back(check_numa(driver));
  all.push_back(check_kernel_log(look_at_kernel_log(root)));
  all.push_back(check_upgrades(look_at_upgrades(root)));
  all.push_back(check_toolkit(look_at_toolkit(root)));
}

std::vector<Finding> examine(const control::Home& home) {
  const std::string root = doctor_root();
  std::vector<Finding> all;
  const auto kernel = look_at_kernel();
  all.push_back(check_kernel(kernel));
  add(all, check_cgroups(look_at_cgroups(), kernel.pid_namespace));
  look_at_gpu_side(root, all);
  const Instant deadline = os::now() + kFilesWithin;
  for (const auto& folder : look_at_folders(home, deadline)) all.push_back(check_folder(folder));
  std::string why_unseen;
  const auto temp = look_at_temp_folders(home, deadline, &why_unseen);
  all.push_back(check_temp_folders(temp, why_unseen));
  all.push_back(check_swap(look_at_swap(root)));
  Pid warden_pid;
  const auto warden = look_at_warden(home, os::now() + kOursWithin, &warden_pid);
  all.push_back(check_core(look_at_cores(root, warden_pid)));
  all.push_back(check_clock(clock_is_synchronised()));
  add(all, check_warden(warden));
  all.push_back(check_unit(look_at_unit(root, home)));
  return all;
}

Tone tone_of(Grade grade) {
  switch (grade) {
    case Grade::ok:
      return Tone::good;
    case Grade::unseen:
      return Tone::faint;
    case Grade::warn:
      return Tone::warn;
    case Grade::fail:
      break;
  }
  return Tone::bad;
}

void print_text(const std::vector<Finding>& findings) {
  std::size_t counts[4] = {};
  for (const auto& one : findings) {
    ++counts[static_cast<std::size_t>(one.grade)];
    std::string grade(to_string(one.grade));
    grade.resize(8, ' ');
    std::printf("%s%s: %s\n", paint(tone_of(one.grade), grade).c_str(), one.check.c_str(),
                one.found.c_str());
    if (!one.cost.empty()) std::printf("        cost: %s\n", one.cost.c_str());
    if (!one.mend.empty()) std::printf("        mend: %s\n", one.mend.c_str());
  }
  std::printf("%zu OK, %zu WARN, %zu FAIL, %zu not to be seen from here\n", counts[0], counts[2],
              counts[3], counts[1]);
}

json::value or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

void print_json(const std::vector<Finding>& findings) {
  json::array list;
  for (const auto& one : findings)
    list.push_back({{"check", one.check},
                    {"grade", to_string(one.grade)},
                    {"found", one.found},
                    {"cost", or_null(one.cost)},
                    {"mend", or_null(one.mend)}});
  const Grade worst = worst_of(findings);
  const json::object root = {{"worst", to_string(worst == Grade::unseen ? Grade::ok : worst)},
                             {"findings", std::move(list)}};
  std::printf("%s\n", printable(json::serialize(root)).c_str());
}

}  // namespace

int doctor(bool json) {
  constexpr int kCannotLook = 2;
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return kCannotLook;
  const auto findings = examine(*home);
  if (json)
    print_json(findings);
  else
    print_text(findings);
  return exit_code_of(worst_of(findings));
}

}  // namespace gpuward::cli
