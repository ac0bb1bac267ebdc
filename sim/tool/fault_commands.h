#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "tool/commands.h"

/// The commands that change cards which are there: fault, heal, kmsg. They are read in the same way
/// from gpusim's command line and from the lines of an incident.
namespace gpuward::gpusim::tool {

/// CUDA_ERROR_LAUNCH_FAILED: what a lost context answers unless told otherwise.
inline constexpr int kLaunchFailed = 719;

/// What the options of one command say.
struct Request {
  Scope scope;
  CallFault call = {
      .function = {}, .kind = kReturnCode, .code = kLaunchFailed, .delay_ns = 0, .times = kAlways};
  HealthChange health;
  XidLine xid;
  KernelLog log;
  std::uint64_t amount = 0;
  unsigned number = 0;
  unsigned count = 1;
  unsigned reason = 6;  ///< of throttling; hardware-thermal
  unsigned instance = kNoInstance;
  bool keep_row = false;
  std::string text;
};

/// A command that was read, ready to be carried out.
struct Command {
  Request request;
  std::function<Result<void>(Session&, const Request&)> action;  ///< empty: none was read
};

/// Adds the commands to apps. Lives longer than those; what the last parse of one of them read is
/// in `command`, which must be reset() between two.
class FaultCommands {
 public:
  /// @param default_log  where kernel lines go unless --kmsg says so; may be empty
  void add_to(CLI::App* app, const std::string& default_log = {});
  void reset();
  Command command;

 private:
  using Action = std::function<Result<void>(Session&, const Request&)>;
  CLI::App* add(CLI::App* parent, const std::string& name, const std::string& help, bool with_pid,
                const Action& action);
  void add_log(CLI::App* fault);
  void build_context_faults(CLI::App* parent);
  void build_memory_faults(CLI::App* parent);
  void build_card_faults(CLI::App* parent);
  void build_sensor_faults(CLI::App* parent);
  void build_ecc_faults(CLI::App* parent);
  void build_link_faults(CLI::App* parent);
  void build_call_faults(CLI::App* parent);
  void build_row_faults(CLI::App* parent);
  void build_driver_faults(CLI::App* parent);
  std::string default_log_;
};

}  // namespace gpuward::gpusim::tool
