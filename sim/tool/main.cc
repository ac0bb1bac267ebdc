#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>

#include "base/units.h"
#include "tool/commands.h"
#include "tool/fault_commands.h"
#include "tool/options.h"
#include "tool/play.h"

namespace gpuward::gpusim::tool {
namespace {

/// The command line, and what it asks for: at most one action.
class CommandLine {
 public:
  CommandLine() { build(); }
  int run(int argc, char** argv);

 private:
  void build();
  void build_create();
  void build_hold();
  void build_play();
  Result<void> open(bool for_change) { return open_state(session_, path_, for_change); }

  CLI::App app_{
      "Simulated GPUs: programs that load the driver's libraries from this folder see them."};
  std::string path_ = state_path();
  CreateOptions create_;
  std::string sync_;
  std::string generation_;
  bool force_ = false;
  bool json_ = false;
  Hold hold_;
  PlayOptions play_;
  int exit_code_ = 0;
  FaultCommands faults_;
  Session session_;
  std::function<Result<void>()> action_;
};

void CommandLine::build() {
  app_.require_subcommand(1);
  app_.footer(
      "The state file is named by GPUSIM_STATE (default /dev/shm/gpusim-UID).\n"
      "exit: 0 done, 1 failed, 2 usage");
  app_.set_version_flag("--version", GPUWARD_VERSION);
  build_create();
  auto* show = app_.add_subcommand("show", "What the cards hold and do now");
  show->add_flag("--json", json_, "For programs");
  show->callback([this] {
    action_ = [this]() -> Result<void> {
      GPUWARD_TRY(open(true));
      std::fputs((json_ ? show_json(session_, path_) : show_table(session_)).c_str(), stdout);
      return {};
    };
  });
  app_.add_subcommand("destroy", "Take the cards away; programs that use them get errors")
      ->callback([this] { action_ = [this] { return tool::destroy(path_); }; });
  faults_.add_to(&app_);
  build_hold();
  build_play();
}

void CommandLine::build_create() {
  auto* create = app_.add_subcommand("create", "Make cards");
  create->add_option("--gpus", create_.devices, "How many")
      ->check(CLI::Range(1U, kMaxDevices))
      ->capture_default_str();
  add_size(create, "--memory", create_.memory_bytes, "Of each card (default 40GiB)");
  create->add_option("--name", create_.name, "\"Simulated \" is put before it")
      ->capture_default_str();
  add_time(create, "--return-delay", create_.return_delay_ns,
           "Until the memory of a process that ended is back (default 200ms)");
  add_size(create, "--context-memory", create_.context_bytes,
           "What a context costs (default 256MiB)");
  add_size(create, "--reserved", create_.reserved_bytes, "The driver's own part (default 1/80)");
  create->add_option("--auto-sync", sync_, "How CU_CTX_SCHED_AUTO waits: block (default) or spin")
      ->check(CLI::IsMember({"block", "spin"}));
  auto* mps = create->add_flag("--mps", create_.mps, "Contexts overlap instead of taking turns");
  create->add_option("--mig", create_.instances, "Each card is in MIG mode, with so many instances")
      ->check(CLI::Range(1U, kMaxInstances))
      ->excludes(mps);
  create->add_option("--generation", generation_, "hopper (default) or ampere, which has no GPM")
      ->check(CLI::IsMember({"ampere", "hopper"}));
  create->add_flag("--accounting", create_.accounting, "Accounting mode is on");
  add_time(create, "--slice", create_.slice_ns, "A context's turn (default 2ms)");
  add_time(create, "--switch-cost", create_.switch_ns, "Lost at each change of turn (default 0us)");
  add_time(create, "--sample-period", create_.sample_period_ns,
           "Of utilisation (default 166667us)");
  add_size(create, "--copy-rate", create_.copy_bytes_per_second, "Per second (default 25GB)");
  add_time(create, "--default-kernel", create_.default_kernel_ns,
           "A kernel whose module says no time (default 10us)");
  add_size(create, "--host-budget", create_.host_budget_bytes,
           "Host memory for checkpoints (default 256GiB)");
  create->add_flag("--force", force_, "Replace cards that are there");
  create->callback([this] {
    create_.auto_sync_spins = sync_ == "spin";
    create_.architecture = generation_ == "ampere" ? kAmpere : kHopper;
    action_ = [this]() -> Result<void> {
      if (create_.slice_ns == 0 || create_.sample_period_ns < 1'000'000) {
        return fail(Errc::invalid, "create cards with a slice of 0 or a sample period below 1ms");
      }
      GPUWARD_TRY(tool::create(path_, create_, force_));
      std::printf("%u x Simulated %s, %s each, in %s\n", create_.devices, create_.name.c_str(),
                  to_string(Bytes{create_.memory_bytes}).c_str(), path_.c_str());
      return {};
    };
  });
}

void CommandLine::build_hold() {
  auto* held = app_.add_subcommand("hold", "Hold memory of a card, as a process that uses it does");
  held->add_option("--gpu", hold_.gpu, "Which card")->check(CLI::NonNegativeNumber);
  add_size(held, "--memory", hold_.memory_bytes, "How much");
  held->add_option("--busy", hold_.busy_percent, "Percent of the time that it wants to compute")
      ->check(CLI::Range(0U, 100U));
  held->add_option("--name", hold_.name, "What the process is called")
      ->check([](const std::string& name) {
        return name.size() <= 15 ? std::string() : "a process's name has 15 bytes at most";
      });
  add_time(held, "--for", hold_.time_ns, "Then it ends (default never)");
  held->callback([this] {
    action_ = [this]() -> Result<void> {
      GPUWARD_TRY(open(true));
      return hold(session_, hold_);
    };
  });
}

void CommandLine::build_play() {
  auto* played = app_.add_subcommand("play", "Let a file of timed incidents happen");
  played->add_option("file", play_.file, "See docs/gpusim.md")->required();
  played->add_flag("--check", play_.check_only, "Only say what is wrong with it");
  played->add_option("--kmsg", play_.kmsg, "Where its kernel lines go");
  played->add_option("--name", play_.names, "NAME=PID: @NAME in the file is that process")
      ->allow_extra_args(false);
  played->footer("exit: as gpusim, 2 also when the file is wrong, 128 + n after signal n");
  played->callback([this] {
    action_ = [this]() -> Result<void> {
      exit_code_ = play(session_, path_, play_);
      return {};
    };
  });
}

int CommandLine::run(int argc, char** argv) {
  try {
    app_.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app_.exit(error) == 0 ? 0 : 2;
  }
  if (faults_.command.action) {
    action_ = [this]() -> Result<void> {
      GPUWARD_TRY(open(true));
      return faults_.command.action(session_, faults_.command.request);
    };
  }
  const auto done = action_();
  if (done) return exit_code_;
  std::fprintf(stderr, "gpusim: %s\n", done.error().message().c_str());
  return 1;
}

}  // namespace
}  // namespace gpuward::gpusim::tool

int main(int argc, char** argv) {
  static gpuward::gpusim::tool::CommandLine line;
  return line.run(argc, argv);
}
