#include "tool/fault_commands.h"

#include <limits>
#include <map>

#include "tool/options.h"

namespace gpuward::gpusim::tool {
namespace {

/// Where NVML's clock event reasons stand in HealthEntry::held_down.
const std::map<std::string, unsigned> kReasonNames = {
    {"power-cap", 2},        {"hardware-slowdown", 3}, {"sync-boost", 4},
    {"software-thermal", 5}, {"hardware-thermal", 6},  {"power-brake", 7}};

const std::map<std::string, unsigned> kActionNames = {{"none", 0},        {"reset", 1},
                                                      {"reboot", 2},      {"drain-p2p", 3},
                                                      {"drain-reset", 4}, {"recover-imex", 5}};

/// Accepts one of the names, or a number.
CLI::Validator name_or_number(const std::map<std::string, unsigned>& names,
                              const std::string& what) {
  std::string known;
  for (const auto& [name, number] : names) known += (known.empty() ? "" : ", ") + name;
  return {[&names, known, what](std::string& text) {
            if (const auto found = names.find(text); found != names.end()) {
              text = std::to_string(found->second);
            }
            const bool ok = !text.empty() && text.size() < 6 &&
                            text.find_first_not_of("0123456789") == std::string::npos;
            return ok ? std::string() : what + " is one of " + known + ", or a number";
          },
          "NAME|NUMBER"};
}

}  // namespace

void FaultCommands::reset() {
  command = {};
  command.request.log.path = default_log_;
}

void FaultCommands::add_to(CLI::App* app, const std::string& default_log) {
  default_log_ = default_log;
  reset();
  auto* fault = app->add_subcommand("fault", "Break something; see gpusim heal");
  fault->require_subcommand(1);
  build_context_faults(fault);
  build_memory_faults(fault);
  build_card_faults(fault);
  build_sensor_faults(fault);
  build_ecc_faults(fault);
  build_link_faults(fault);
  build_call_faults(fault);
  build_row_faults(fault);
  build_driver_faults(fault);
  app->add_subcommand("heal", "End all faults; lost contexts stay lost")->callback([this] {
    command.action = [](Session& session, const Request&) { return heal(session); };
  });
  auto* kmsg = app->add_subcommand("kmsg", "Write a message to the kernel log's file");
  kmsg->add_option("text", command.request.text, "The message")->required();
  add_log(kmsg);
  kmsg->callback([this] {
    if (command.request.log.path.empty()) throw CLI::ValidationError("--kmsg", "is needed");
    command.action = [](Session& session, const Request& request) {
      return append(session, request.log, request.text);
    };
  });
}

CLI::App* FaultCommands::add(CLI::App* parent, const std::string& name, const std::string& help,
                             bool with_pid, const Action& action) {
  auto* fault = parent->add_subcommand(name, help);
  Scope& scope = command.request.scope;
  fault->add_option("--gpu", scope.gpu, "Only this card (default all)")
      ->check(CLI::Range(0, static_cast<int>(kMaxDevices) - 1));
  if (with_pid) {
    fault->add_option("--pid", scope.pid, "Only this process")
        ->check(CLI::Range(1, std::numeric_limits<int>::max()));
  }
  fault->callback([this, action] { command.action = action; });
  return fault;
}

void FaultCommands::add_log(CLI::App* fault) {
  KernelLog& log = command.request.log;
  fault->add_option("--kmsg", log.path, "Append the kernel's record to this file");
  fault->add_flag("--plain", log.plain, "Its text alone, without the head of a /dev/kmsg record");
}

void FaultCommands::build_context_faults(CLI::App* parent) {
  Request& to = command.request;
  auto* lost =
      add(parent, "lost-context", "The contexts of a process are gone; it lives on", true,
          [](Session& session, const Request& request) {
            return lose_context(session, request.scope, request.call.code, request.keep_row);
          });
  lost->get_option("--pid")->required();
  lost->add_option("--code", to.call.code, "What its calls return (default 719)")
      ->check(CLI::IsMember({700, 719, 214}));
  lost->add_flag("--keep-row", to.keep_row, "Poisoned, but still listed with its memory");
}

void FaultCommands::build_memory_faults(CLI::App* parent) {
  Request& to = command.request;
  auto* oom = add(parent, "out-of-memory", "Allocations fail", true,
                  [](Session& session, const Request& request) {
                    CallFault call = request.call;
                    call.function = "cuMemAlloc";
                    call.code = 2;
                    return add_call_fault(session, request.scope, call);
                  });
  oom->add_option("--times", to.call.times, "So often (default always)")
      ->check(CLI::Range(1U, kAlways - 1));
  auto* delay = add(parent, "return-delay", "Memory of ended processes comes back later", false,
                    [](Session& session, const Request& request) {
                      return set_return_delay(session, request.scope, request.amount);
                    });
  add_time(delay, "delay", to.amount, "or never");
  delay->get_option("delay")->required();
  auto* corrupt = add(parent, "corrupt", "What is copied from the card has one bit turned over",
                      true, [](Session& session, const Request& request) {
                        CallFault call = request.call;
                        call.kind = kCorrupt;
                        call.function = "cuMemcpyDtoH";
                        return add_call_fault(session, request.scope, call);
                      });
  corrupt->add_option("--times", to.call.times, "So often (default always)")
      ->check(CLI::Range(1U, kAlways - 1));
  auto* phantom = add(parent, "phantom", "Used memory that no row explains", false,
                      [](Session& session, const Request& request) {
                        return add_phantom(session, request.scope, request.amount);
                      });
  add_size(phantom, "--memory", to.amount, "How much");
  phantom->get_option("--memory")->required();
}

void FaultCommands::build_card_faults(CLI::App* parent) {
  Request& to = command.request;
  auto* xid = add(parent, "xid", "The driver reports an Xid", true,
                  [](Session& session, const Request& request) {
                    XidLine line = request.xid;
                    if (request.instance != kNoInstance) line.instance = request.instance;
                    return raise_xid(session, request.scope, line, request.log);
                  });
  xid->add_option("number", to.xid.xid, "13, 31, 43, 45, 48, 79, 94, ...")
      ->required()
      ->check(CLI::Range(1U, 999U));
  xid->add_option("--text", to.xid.tail, "How its line ends (default as that Xid usually does)");
  xid->add_option("--instance", to.instance, "Of this MIG instance, by the driver's number")
      ->check(CLI::Range(0U, 99U));
  add_log(xid);
  add_log(add(parent, "off-the-bus",
              "Every call about the card answers GPU_IS_LOST; with --kmsg, the text without an Xid",
              false, [](Session& session, const Request& request) {
                return fall_off_the_bus(session, request.scope, request.log);
              }));
  add(parent, "reset-required", "Every call about the card answers RESET_REQUIRED", false,
      [](Session& session, const Request& request) {
        return set_device_flags(session, request.scope, kResetRequired);
      });
  auto* recovery =
      add(parent, "recovery-action", "The driver's own advice (field 230, Xid 154)", false,
          [](Session& session, const Request& request) {
            return set_recovery_action(session, request.scope, request.number, request.log);
          });
  recovery->add_option("action", to.number, "reset, reboot, drain-p2p, drain-reset, none, ...")
      ->required()
      ->transform(name_or_number(kActionNames, "an action"));
  add_log(recovery);
}

void FaultCommands::build_sensor_faults(CLI::App* parent) {
  Request& to = command.request;
  const auto change = [](Session& session, const Request& request) {
    return change_health(session, request.scope, request.health);
  };
  auto* throttle =
      add(parent, "throttle", "The card runs slower", false,
          [](Session& session, const Request& request) {
            return set_rate(session, request.scope, request.number * 10, request.reason);
          });
  throttle->add_option("percent", to.number, "Of its full speed")
      ->required()
      ->check(CLI::Range(1U, 100U));
  throttle
      ->add_option("--reason", to.reason,
                   "Clock event reason: power-cap, hardware-slowdown, sync-boost,\n"
                   "software-thermal, hardware-thermal (default), power-brake")
      ->transform(name_or_number(kReasonNames, "a reason"))
      ->check(CLI::Range(2U, kReasons - 1));
  auto* heat = add(parent, "temperature", "The card is so hot", false, change);
  heat->add_option("degrees", to.health.temperature, "Of the GPU, Celsius")
      ->required()
      ->check(CLI::Range(-50, 200));
  heat->add_option("--memory", to.health.memory_temperature, "Of its memory")
      ->check(CLI::Range(-50, 200));
  auto* power = add(parent, "power", "The card draws so much", false,
                    [](Session& session, const Request& request) {
                      HealthChange watts;
                      watts.power_mw = static_cast<int>(request.number) * 1000;
                      return change_health(session, request.scope, watts);
                    });
  power->add_option("watts", to.number, "Power, W")->required()->check(CLI::Range(0U, 100'000U));
  add(parent, "no-persistence", "Persistence mode is off", false,
      [](Session& session, const Request& request) {
        HealthChange off;
        off.persistence_off = true;
        return change_health(session, request.scope, off);
      });
}

void FaultCommands::build_ecc_faults(CLI::App* parent) {
  HealthChange& to = command.request.health;
  const auto change = [](Session& session, const Request& request) {
    return change_health(session, request.scope, request.health);
  };
  const CLI::Range counts(0U, 1'000'000U);
  auto* ecc = add(parent, "ecc", "Memory errors, added to those there are", false, change);
  ecc->add_option("--corrected", to.ecc_corrected, "So many more")->check(counts);
  ecc->add_option("--uncorrected", to.ecc_uncorrected, "So many more")->check(counts);
  auto* remap = add(parent, "remap", "Rows of memory are replaced by spare ones", false, change);
  remap->add_option("--corrected", to.rows_corrected, "So many more for corrected errors")
      ->check(counts);
  remap->add_option("--uncorrected", to.rows_uncorrected, "So many more for uncorrected ones")
      ->check(counts);
  remap->add_flag("--pending", to.rows_pending, "It takes effect with the next reset");
  remap->add_flag("--failed", to.rows_failed, "There was no spare row left");
  auto* pages = add(parent, "retired-pages", "Pages of memory are no longer used", false, change);
  pages->add_option("--single", to.pages_single, "So many more for single bit errors")
      ->check(counts);
  pages->add_option("--double", to.pages_double, "So many more for double bit errors")
      ->check(counts);
  pages->add_flag("--pending", to.pages_pending, "It takes effect with the next reset");
}

void FaultCommands::build_link_faults(CLI::App* parent) {
  HealthChange& to = command.request.health;
  const CLI::Range counts(0U, 1'000'000U);
  auto* pcie = add(parent, "pcie", "The link is worse than it should be", false,
                   [](Session& session, const Request& request) {
                     return change_health(session, request.scope, request.health);
                   });
  pcie->add_option("--width", to.pcie_width, "Lanes")->check(CLI::IsMember({1U, 2U, 4U, 8U, 16U}));
  pcie->add_option("--generation", to.pcie_generation, "1 to 5")->check(CLI::Range(1U, 5U));
  pcie->add_option("--correctable", to.pcie_correctable, "So many more errors")->check(counts);
  pcie->add_option("--non-fatal", to.pcie_non_fatal, "So many more errors")->check(counts);
  pcie->add_option("--fatal", to.pcie_fatal, "So many more errors")->check(counts);
}

void FaultCommands::build_call_faults(CLI::App* parent) {
  CallFault& to = command.request.call;
  const auto add_call = [](Session& session, const Request& request) {
    return add_call_fault(session, request.scope, request.call);
  };
  const auto add_times = [&to](CLI::App* fault) {
    fault->add_option("--times", to.times, "So often (default always)")
        ->check(CLI::Range(1U, kAlways - 1));
  };
  const std::string names = "nvmlDeviceGetName, cuMemAlloc, nvml*, ...";
  auto* hang = add(parent, "hang", "Calls do not return until gpusim heal", true,
                   [](Session& session, const Request& request) {
                     CallFault call = request.call;
                     call.kind = kHang;
                     return add_call_fault(session, request.scope, call);
                   });
  hang->add_option("function", to.function, names)->required();
  add_times(hang);
  auto* code = add(parent, "code", "Calls return a code", true, add_call);
  code->add_option("function", to.function, names)->required();
  code->add_option("code", to.code, "0 with --delay: only late")->required();
  add_times(code);
  add_time(code, "--delay", to.delay_ns, "Answer so much later");
  auto* refuse = add(parent, "refuse-checkpoint", "A checkpoint step is refused", true,
                     [](Session& session, const Request& request) {
                       CallFault call = request.call;
                       call.function = "cuCheckpointProcess" + request.text;
                       if (call.code == kLaunchFailed) call.code = 801;
                       return add_call_fault(session, request.scope, call);
                     });
  refuse->add_option("step", command.request.text, "Lock, Checkpoint, Restore or Unlock")
      ->required()
      ->check(CLI::IsMember({"Lock", "Checkpoint", "Restore", "Unlock"}));
  refuse->add_option("--code", to.code, "What it returns (default 801)");
  add_times(refuse);
  add_time(refuse, "--delay", to.delay_ns, "Answer so much later");
  add(parent, "device-cgroup",
      "NVML and new contexts answer 999, as when a container has lost its devices", true,
      [](Session& session, const Request& request) {
        return lose_device_files(session, request.scope);
      });
}

void FaultCommands::build_row_faults(CLI::App* parent) {
  Request& to = command.request;
  auto* foreign = add(parent, "foreign-row", "Rows of processes of another PID namespace", true,
                      [](Session& session, const Request& request) {
                        return add_foreign_rows(session, request.scope,
                                                static_cast<std::uint64_t>(request.scope.pid),
                                                request.count, request.amount, request.instance);
                      });
  foreign->get_option("--pid")->required()->description(
      "Its number; may be that of a local process");
  foreign->add_option("--count", to.count, "So many, with numbers from there on")
      ->check(CLI::Range(1U, kMaxForeign));
  add_size(foreign, "--memory", to.amount, "Of each row");
  foreign->add_option("--instance", to.instance, "In that MIG instance, from 0")
      ->check(CLI::Range(0U, kMaxInstances - 1));
  const auto set_flag = [&](const std::string& name, const std::string& help, std::uint32_t flag) {
    add(parent, name, help, false,
        [flag](Session& session, const Request&) { return set_header_flags(session, flag); });
  };
  set_flag("hide-row-memory", "Rows do not tell their memory (all ones)", kHideMemory);
  set_flag("no-rights", "NVML's callers count as unprivileged, also root", kNoRights);
  set_flag("no-v3", "The _v3 process lists are missing", kWithholdV3);
  auto* stride = add(
      parent, "stride", "Elements of the _v3 process lists have another size", false,
      [](Session& session, const Request& request) { return set_stride(session, request.number); });
  stride->add_option("bytes", to.number, "16, 24 or 32")
      ->required()
      ->check(CLI::IsMember({16U, 24U, 32U}));
}

void FaultCommands::build_driver_faults(CLI::App* parent) {
  add(parent, "kill-after-restore", "Ending a process that was restored hangs the host", false,
      [](Session& session, const Request&) {
        return set_header_flags(session, kKillAfterRestoreIsFatal);
      });
  add(parent, "driver-mismatch", "Library and kernel module differ: init fails", false,
      [](Session& session, const Request&) { return set_header_flags(session, kDriverMismatch); });
}

}  // namespace gpuward::gpusim::tool
