#include "sentinel/driver_probe.h"

#include <sys/wait.h>

#include <csignal>

#include "os/spawn.h"

namespace gpuward::sentinel {

void DriverProbe::tick(Instant now) {
  if (now < due_) return;
  if (process_) {
    // One that hangs in the driver may not even die; there is never a second beside it.
    if (!late_) (void)process_.signal(SIGKILL);
    late_ = true;
    due_ = now + kPeriod;
    finish();
    return;
  }
  due_ = now + kPeriod;
  const auto program = os::sibling_program("gpuward-sentinel");
  if (!program) return;
  os::ProgramPlan plan;
  plan.path = *program;
  plan.args = {"--probe"};
  plan.parent_death_signal = SIGKILL;
  auto process = os::start_program(plan);
  if (!process) return;
  process_ = std::move(*process);
  late_ = false;
  due_ = now + kPatience;
}

void DriverProbe::finish() {
  int status = 0;
  if (!process_ || ::waitpid(process_.pid().number, &status, WNOHANG) != process_.pid().number)
    return;
  process_ = os::Process();
  if (!late_) due_ += kPeriod - kPatience;
  // One that ended otherwise, or was ended, has learned nothing.
  if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kProbeMismatch))
    changed_ = WEXITSTATUS(status) == kProbeMismatch;
}

}  // namespace gpuward::sentinel
