#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/units.h"
#include "domain/anchor_state.h"
#include "domain/stranger.h"
#include "os/process.h"
#include "os/socket.h"

namespace gpuward::cli {

/// Processes that gpuward did not start and that hold an address, with all that descends from them:
/// by their parents, and by the session where the first of them leads one (nobody gets into a
/// session but from inside it). Each is held by a pidfd from the moment it is found, so nobody else
/// is ever meant. What one of them starts in a session of its own and leaves to init between two
/// looks escapes; if it holds the address, the proof says so.
class StrangerTree {
 public:
  struct Member {
    os::Process process;
    Pid parent;
    unsigned depth = 0;
    std::string command;
    std::string spared;  ///< why end() leaves it alone though it belongs here; empty: it does not
  };
  /// Says whose a process is, if it is one of gpuward's; else empty.
  using OwnerOf = std::function<std::string(Pid)>;

  /// Those who hold @p address now. Errors: Errc::refused where somebody does who cannot be seen.
  static Result<StrangerTree> at(const os::TcpAddress& address);

  /// Exactly @p id and what descends from it. Errors: ESRCH when it has ended.
  static Result<StrangerTree> of(const ProcessId& id);

  bool empty() const { return members_.empty(); }
  /// Parents before children.
  const std::vector<Member>& members() const { return members_; }
  /// Adds what they have started since. @return how many.
  std::size_t gather();

  /// Who holds @p address now: nobody any more, only members, or (also) somebody else?
  enum class Held { no, by_members, by_others };
  Held held(const os::TcpAddress& address) const;

  /// Why it is not ended, of the first that must not be; empty when it may be.
  std::string refusal(const OwnerOf& owner_of) const;

  struct Ended {
    std::size_t count = 0;                   ///< processes that lived and do not any more
    bool forced = false;                     ///< KILL was needed
    std::vector<const Member*> survivors{};  ///< with those that were spared
    Duration took{};
  };
  /// TERM to each, the first before its children, then KILL after @p grace. Returns when none
  /// lives, or 10 s after KILL. What they start on the way is ended too, but by the rules of
  /// refusal(): who must not be ended is spared, hears no signal, and so does all that is below it.
  Ended end(std::chrono::milliseconds grace, const OwnerOf& owner_of);

  /// Does somebody live who may start the first ones again: their parent, or a manager of units?
  bool may_come_back() const { return may_come_back_; }

 private:
  // What a process is compared with, read once.
  struct Surroundings {
    std::set<Pid> our_ancestors;
    std::string pid_namespace;
    std::string cgroups;
    static Surroundings read();
  };
  struct Rules {
    Surroundings around;
    const OwnerOf* owner_of;
  };
  static std::string why_not(const Member& member, const Rules& rules);

  void take_root(os::Process process);
  void gather_session(Pid session);
  bool session_lives(Pid session) const;
  bool add(os::Process process, Pid parent, unsigned depth);
  bool knows(const ProcessId& id) const;
  bool is_below_spared(Pid pid) const;
  void judge_again();
  const Member* first_to_end() const;
  void signal_all(int number) const;
  bool wait_until_gone(Instant deadline);
  void kill_all();

  std::vector<Member> members_;
  std::optional<Rules> rules_;  ///< while they are being ended
  std::vector<Pid> sessions_;   ///< led by the first ones
  bool may_come_back_ = false;
};

/// One that did not end, as a receipt names it.
Survivor survivor_of(const StrangerTree::Member& member);

/// Log files and PID files of a process, as far as they can be read: regular files it has open for
/// writing, and *.pid in its folder that hold its number. At most @p most.
std::vector<std::string> files_of(Pid pid, std::size_t most);

/// Its working directory; empty when it cannot be seen.
std::string folder_of(Pid pid);

/// unit_in() of its cgroups.
std::string unit_of(Pid pid);

}  // namespace gpuward::cli
