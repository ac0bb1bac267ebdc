#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>

#include "base/units.h"
#include "tool/commands.h"

namespace gpuward::gpusim::tool {
namespace {

/// An option whose value must be a size with a unit.
void add_size(CLI::App* app, const std::string& name, std::uint64_t& to, const std::string& help) {
  app->add_option_function<std::string>(
         name,
         [&to, name](const std::string& text) {
           const auto parsed = parse_bytes(text);
           if (!parsed) {
             throw CLI::ValidationError(
                 name, "'" + text + "' is no size; a unit is needed: 40GiB, 512MiB");
           }
           to = parsed->count;
         },
         help)
      ->type_name("SIZE");
}

void add_time(CLI::App* app, const std::string& name, std::uint64_t& to, const std::string& help) {
  app->add_option_function<std::string>(
         name,
         [&to, name](const std::string& text) {
           const auto parsed = text == "never" ? kNever : parse_time(text);
           if (!parsed) {
             throw CLI::ValidationError(name,
                                        "'" + text + "' is no time; a unit is needed: 200ms, 5s");
           }
           to = *parsed;
         },
         help)
      ->type_name("TIME");
}

/// The command line, and what it asks for: at most one action.
class CommandLine {
 public:
  CommandLine() { build(); }
  int run(int argc, char** argv);

 private:
  using Action = std::function<Result<void>()>;

  void build();
  void build_create();
  void build_faults(CLI::App* parent);
  void build_memory_faults(CLI::App* parent);
  void build_card_faults(CLI::App* parent);
  void build_driver_faults(CLI::App* parent);
  /// A command under @p parent that runs @p action on the opened state.
  CLI::App* add_fault(CLI::App* parent, const std::string& name, const std::string& help,
                      bool with_pid, const Action& action);
  Result<void> open(bool for_change) { return open_state(session_, path_, for_change); }

  CLI::App app_{
      "Simulated GPUs: programs that load the driver's libraries from this folder see them."};
  std::string path_ = state_path();
  CreateOptions create_;
  bool force_ = false;
  bool json_ = false;
  Scope scope_;
  CallFault call_;
  std::uint64_t amount_ = 0;
  unsigned number_ = 0;
  unsigned count_ = 1;
  bool keep_row_ = false;
  std::string text_;
  Session session_;
  Action action_;
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
  app_.add_subcommand("heal", "End all faults; lost contexts stay lost")->callback([this] {
    action_ = [this]() -> Result<void> {
      GPUWARD_TRY(open(true));
      return tool::heal(session_);
    };
  });
  auto* fault = app_.add_subcommand("fault", "Break something; see gpusim heal");
  fault->require_subcommand(1);
  build_faults(fault);
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
  create->add_option("--auto-sync", text_, "How CU_CTX_SCHED_AUTO waits: block (default) or spin")
      ->check(CLI::IsMember({"block", "spin"}));
  create->add_flag("--mps", create_.mps, "Contexts overlap instead of taking turns");
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
    create_.auto_sync_spins = text_ == "spin";
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

CLI::App* CommandLine::add_fault(CLI::App* parent, const std::string& name, const std::string& help,
                                 bool with_pid, const Action& action) {
  auto* fault = parent->add_subcommand(name, help);
  fault->add_option("--gpu", scope_.gpu, "Only this card (default all)")
      ->check(CLI::NonNegativeNumber);
  if (with_pid) {
    fault->add_option("--pid", scope_.pid, "Only this process")->check(CLI::PositiveNumber);
  }
  fault->callback([this, action] {
    action_ = [this, action]() -> Result<void> {
      GPUWARD_TRY(open(true));
      return action();
    };
  });
  return fault;
}

void CommandLine::build_faults(CLI::App* parent) {
  call_.code = 719;
  auto* lost =
      add_fault(parent, "lost-context", "The contexts of a process are gone; it lives on", true,
                [this] { return lose_context(session_, scope_, call_.code, keep_row_); });
  lost->get_option("--pid")->required();
  lost->add_option("--code", call_.code, "What its calls return")
      ->check(CLI::IsMember({700, 719, 214}))
      ->capture_default_str();
  lost->add_flag("--keep-row", keep_row_, "Poisoned, but still listed with its memory");
  build_memory_faults(parent);
  build_card_faults(parent);
  build_driver_faults(parent);
}

void CommandLine::build_memory_faults(CLI::App* parent) {
  auto* oom = add_fault(parent, "out-of-memory", "Allocations fail", true, [this] {
    call_.function = "cuMemAlloc";
    call_.code = 2;
    return add_call_fault(session_, scope_, call_);
  });
  oom->add_option("--times", call_.times, "So often (default always)")->check(CLI::PositiveNumber);
  auto* delay = add_fault(parent, "return-delay", "Memory of ended processes comes back later",
                          false, [this] { return set_return_delay(session_, scope_, amount_); });
  add_time(delay, "delay", amount_, "or never");
  delay->get_option("delay")->required();
  auto* foreign =
      add_fault(parent, "foreign-row", "Rows of processes of another PID namespace", true, [this] {
        return add_foreign_rows(session_, scope_, static_cast<std::uint64_t>(scope_.pid), count_,
                                amount_);
      });
  foreign->get_option("--pid")->required()->description(
      "Its number; may be that of a local process");
  foreign->add_option("--count", count_, "So many, with numbers from there on")
      ->check(CLI::Range(1U, kMaxForeign));
  add_size(foreign, "--memory", amount_, "Of each row");
  auto* phantom = add_fault(parent, "phantom", "Used memory that no row explains", false,
                            [this] { return add_phantom(session_, scope_, amount_); });
  add_size(phantom, "--memory", amount_, "How much");
  phantom->get_option("--memory")->required();
}

void CommandLine::build_card_faults(CLI::App* parent) {
  auto* xid = add_fault(parent, "xid", "The driver reports an Xid", true,
                        [this] { return raise_xid(session_, scope_, number_, text_); });
  xid->add_option("number", number_, "13, 31, 43, 45, 48, 79, 94, ...")->required();
  xid->add_option("--kmsg", text_, "Also append the kernel's line to this file");
  add_fault(parent, "off-the-bus", "Every call about the card answers GPU_IS_LOST", false,
            [this] { return set_device_flags(session_, scope_, kOffTheBus); });
  add_fault(parent, "reset-required", "Every call about the card answers RESET_REQUIRED", false,
            [this] { return set_device_flags(session_, scope_, kResetRequired); });
  auto* throttle = add_fault(parent, "throttle", "The card runs slower", false,
                             [this] { return set_rate(session_, scope_, number_ * 10); });
  throttle->add_option("percent", number_, "Of its full speed")
      ->required()
      ->check(CLI::Range(1U, 99U));
}

void CommandLine::build_driver_faults(CLI::App* parent) {
  const auto add_call_options = [this](CLI::App* fault) {
    fault->add_option("--times", call_.times, "So often (default always)")
        ->check(CLI::PositiveNumber);
    add_time(fault, "--delay", call_.delay_ns, "Answer so much later");
  };
  auto* hang = add_fault(parent, "hang", "Calls do not return until gpusim heal", true, [this] {
    call_.kind = kHang;
    return add_call_fault(session_, scope_, call_);
  });
  hang->add_option("function", call_.function, "nvmlDeviceGetName, cuMemAlloc, nvml*, ...")
      ->required();
  hang->add_option("--times", call_.times, "So often (default always)")->check(CLI::PositiveNumber);
  auto* code = add_fault(parent, "code", "Calls return a code", true,
                         [this] { return add_call_fault(session_, scope_, call_); });
  code->add_option("function", call_.function, "nvmlDeviceGetName, cuMemAlloc, nvml*, ...")
      ->required();
  code->add_option("code", call_.code, "0 with --delay: only late")->required();
  add_call_options(code);
  auto* refuse =
      add_fault(parent, "refuse-checkpoint", "A checkpoint step is refused", true, [this] {
        call_.function = "cuCheckpointProcess" + text_;
        call_.code = call_.code == 719 ? 801 : call_.code;
        return add_call_fault(session_, scope_, call_);
      });
  refuse->add_option("step", text_, "Lock, Checkpoint, Restore or Unlock")
      ->required()
      ->check(CLI::IsMember({"Lock", "Checkpoint", "Restore", "Unlock"}));
  refuse->add_option("--code", call_.code, "What it returns (default 801)");
  add_call_options(refuse);
  add_fault(parent, "kill-after-restore", "Ending a process that was restored hangs the host",
            false, [this] { return set_header_flags(session_, kKillAfterRestoreIsFatal); });
  add_fault(parent, "driver-mismatch", "Library and kernel module differ: init fails", false,
            [this] { return set_header_flags(session_, kDriverMismatch); });
  add_fault(parent, "no-v3", "The _v3 process lists are missing", false,
            [this] { return set_header_flags(session_, kWithholdV3); });
  auto* stride = add_fault(parent, "stride", "Elements of the _v3 process lists have another size",
                           false, [this] { return set_stride(session_, number_); });
  stride->add_option("bytes", number_, "16, 24 or 32")
      ->required()
      ->check(CLI::IsMember({16U, 24U, 32U}));
}

int CommandLine::run(int argc, char** argv) {
  try {
    app_.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app_.exit(error) == 0 ? 0 : 2;
  }
  const auto done = action_();
  if (done) return 0;
  std::fprintf(stderr, "gpusim: %s\n", done.error().message().c_str());
  return 1;
}

}  // namespace
}  // namespace gpuward::gpusim::tool

int main(int argc, char** argv) {
  static gpuward::gpusim::tool::CommandLine line;
  return line.run(argc, argv);
}
