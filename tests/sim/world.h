#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "os/fd.h"

namespace gpuward::gpusim::test {

using std::chrono::milliseconds;

/// A program that the test has started, with pipes to its standard input and output. Killed and
/// reaped at the end of its life.
class Child {
 public:
  /// @param program  in build/PRESET/bin (or a path); runs with the simulated libraries in its
  /// path.
  /// @param new_pid_namespace  it becomes pid 1 of one; its pid() stays the one seen from here.
  Child(const std::string& program, const std::vector<std::string>& arguments,
        const std::string& state, bool new_pid_namespace = false);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  void tell(const std::string& line);
  void close_input() { input_.close(); }
  /// The next line of its output, without the end; empty when none came in time or it has ended.
  std::string line(milliseconds within = milliseconds(10'000));
  void signal(int number) const;
  /// SIGSTOP, and waits until it has taken effect. Not for pid_namespace children.
  void stop() const;
  /// Waits for the end. @return its exit code, 128 + n after signal n.
  int wait();

 private:
  pid_t pid_ = -1;
  pid_t helper_ = -1;  ///< our own child where pid_ is its child in a new namespace
  os::Fd input_;
  os::Fd output_;
  std::string pending_;
};

/// A state file of the test's own, on tmpfs.
class World {
 public:
  /// @param options  for gpusim create
  explicit World(const std::vector<std::string>& options = {});
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  const std::string& state() const { return state_; }
  const std::string& folder() const { return folder_; }
  std::unique_ptr<Child> client(const std::vector<std::string>& arguments,
                                bool pid_namespace = false);
  /// A sim_reader: reads through NVML.
  std::unique_ptr<Child> reader(const std::vector<std::string>& arguments);
  /// Runs gpusim and returns its exit code; what it printed is in output().
  int gpusim(const std::vector<std::string>& arguments);
  const std::string& output() const { return output_; }
  /// The whole output of gpusim show --json.
  std::string show();
  /// The first number after "KEY": in show().
  std::uint64_t shown(const std::string& key);
  /// Polls show() until the number is @p value. False at the deadline.
  bool wait_shown(const std::string& key, std::uint64_t value,
                  milliseconds within = milliseconds(5000));

 private:
  std::string folder_;
  std::string state_;
  std::string output_;
};

std::string binary(const std::string& name);
/// May this process make PID namespaces?
bool can_unshare();
/// The number after @p key and a space in @p line; 0 when there is none.
std::uint64_t number_after(const std::string& line, const std::string& key);

}  // namespace gpuward::gpusim::test
