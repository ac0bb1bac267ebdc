#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/home.h"
#include "domain/hook.h"
#include "domain/report.h"
#include "domain/service.h"
#include "os/process.h"
#include "warden/clerk.h"

namespace gpuward::warden {

/// Runs the commands of `hooks`. Each is a child of the warden, in a session of its own, with an
/// environment made for it; after kDeadline it is killed with everything it has started and that
/// can be found. Nobody waits for one. How each ended is in the ledger. Loop thread only.
class Hooks {
 public:
  static constexpr auto kDeadline = std::chrono::seconds(10);
  /// Of all services together; the others wait.
  static constexpr std::size_t kMostAtOnce = 8;

  Hooks(asio::io_context& loop, control::Home home, Clerk& clerk)
      : loop_(loop), home_(std::move(home)), clerk_(clerk), kept_back_(loop) {}
  ~Hooks() { end_all({}); }
  Hooks(const Hooks&) = delete;
  Hooks& operator=(const Hooks&) = delete;

  void configure(const std::vector<ServiceModel>& services);
  /// Services that have hooks.
  std::vector<std::string> names() const;

  /// Something happened. What has no hook, or is older than this warden, is passed over.
  void on_entry(const LedgerEntry& entry);
  /// What is said of a service now. The first that is said of it is no news.
  void on_verdict(const std::string& service, Verdict verdict, const std::string& sentence);

  /// @p pid, a child of this program, has ended and is not reaped. @return whether it was a hook's:
  /// then it has been reaped.
  bool reap(Pid pid);
  /// Waits for those that run, at most for @p patience, then kills them. For the warden's end.
  void end_all(std::chrono::milliseconds patience);

 private:
  struct Running {
    os::Process process;
    std::string event;
    std::uint64_t intent = 0;  // the ledger's number
    Instant began;
    bool late = false;
    std::unique_ptr<asio::steady_timer> deadline;
  };
  struct Service {
    std::vector<Hook> hooks;
    std::uint32_t log_lines = 0;
    HookQueue queue;
    std::optional<Verdict> verdict;
    std::string sentence;
    std::optional<Running> running;
  };

  void happened(const std::string& name, Service& service, const std::string& event,
                const std::string& sentence);
  void pump();
  void wait_for_kept_back();
  void note_and_start(const std::string& name, Service& service, const HookQueue::Run& run);
  void start(const std::string& name, const HookQueue::Run& run, std::uint64_t intent);
  void ended(const std::string& name, Service& service, const std::string& how,
             std::uint64_t intent, const std::string& event);
  std::vector<std::string> environment(const std::string& name, const Service& service,
                                       const HookQueue::Run& run) const;
  std::string last_lines(const std::string& name, std::uint32_t lines) const;
  static void kill_tree(const os::Process& leader);

  asio::io_context& loop_;
  control::Home home_;
  Clerk& clerk_;
  std::map<std::string, Service> services_;
  std::deque<std::string> ready_;  // services with something to run, each once
  std::size_t running_ = 0;        // begun, and not ended
  asio::steady_timer kept_back_;   // for the first news that is kept back
  Instant kept_back_until_ = Instant::max();
};

}  // namespace gpuward::warden
