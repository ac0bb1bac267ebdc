#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/anchors.h"
#include "domain/gpu.h"
#include "domain/holder.h"
#include "domain/holder_history.h"
#include "os/connections.h"

namespace gpuward::control {

/// What has to be known of one tree of ours to tell its processes from others.
struct KnownTree {
  AnchorFolder folder;
  AnchorState state;
  std::set<std::uint32_t> pids;  ///< as tree_pids() tells
  bool led = false;              ///< its anchor lives
  /// Does the service say itself when it is ready? Otherwise nothing tells its start-up body.
  bool tells_ready = false;
  std::uint16_t port = 0;                               ///< where its clients come; 0: not known
  std::optional<std::chrono::milliseconds> idle_limit;  ///< key `idle_holder`; absent: off
};
/// The trees of one moment, found by pid and by mark. Cheap to ask for each holder.
class KnownTrees {
 public:
  explicit KnownTrees(std::vector<KnownTree> trees = {});
  /// The one that @p pid is in, else that whose mark is @p mark (decision 0004); null for none.
  const KnownTree* find(Pid pid, std::string_view mark) const;
  const std::vector<KnownTree>& all() const { return trees_; }

 private:
  std::vector<KnownTree> trees_;
  std::map<std::uint32_t, std::size_t> by_pid_;
  std::map<std::string, std::size_t, std::less<>> by_mark_;
};

/// Of every record below @p home, asked of the anchors or of the records of dead ones. For programs
/// without a warden: nobody has watched, so no idle_limit.
KnownTrees known_trees(const Home& home, Instant deadline);
/// Has its service ended, so that what is left of it is an orphan?
bool is_over(const KnownTree& tree);

/// Everything in use on every card.
struct Holders {
  std::vector<HolderReport> list;
  std::vector<CardReport> cards;
};

/// Watches those who hold GPU memory, from look to look, and says what each is. Reads /proc of
/// holders alone, each CPU time every few seconds. What it keeps is bounded by the last look. One
/// thread.
class HolderSurvey {
 public:
  /// After each look at the cards.
  /// @return those that have become an ORPHAN or an IDLE_HOLDER since: each once.
  std::vector<HolderReport> see(const GpuSnapshot& snapshot, const KnownTrees& trees, Instant now);
  /// What each is now. @p snapshot: the one that was seen last. Names, ports and origins of
  /// processes are read at most every 10 s.
  Holders report(const GpuSnapshot& snapshot, const KnownTrees& trees, Instant now);

 private:
  // What is asked of the kernel once, or seldom.
  struct Known {
    std::string mark;  // GPUWARD_TREE=... of its environment
    bool mark_read = false;
    Instant cpu_read{};
    std::string command;
    std::optional<std::uint32_t> uid;
    std::string container;
    HolderOrigin origin;
    std::vector<std::uint16_t> ports;
    Instant described{};
    bool described_once = false;
    Instant met{};
    std::optional<os::Connections> at_birth;  // of its service's clients; absent: cannot be told
    bool births_asked = false;
  };

  Known& know(const ProcessId& id);
  void describe(const ProcessId& id, Known& known, Instant now);
  const KnownTree* tree_of(const ProcessId& id, const KnownTrees& trees, Lineage* lineage);
  HolderFacts facts_of(const ProcessId& id, const KnownTrees& trees, const KnownTree** tree,
                       Instant now);
  std::vector<HolderReport> new_ones(const std::map<ProcessId, HolderHistory::Sight>& sights,
                                     const KnownTrees& trees, Instant now);
  HolderReport report_on(const GpuSnapshot& snapshot, const GpuDevice& device,
                         const GpuProcess& row, const KnownTrees& trees, Instant now);
  void read_clients(const KnownTrees& trees, Instant now);
  void ask_birth(const ProcessId& id, const KnownTree& tree, const KnownTrees& trees, Instant now);
  std::optional<std::uint32_t> connections_left(const ProcessId& id, const KnownTree& tree,
                                                const KnownTrees& trees, Instant now);
  std::set<ProcessId> cpu_due(const std::map<ProcessId, HolderHistory::Sight>& sights,
                              const KnownTrees& trees, Instant now);
  std::vector<std::uint16_t> ports_of(Pid pid);

  HolderHistory history_;
  std::map<ProcessId, Known> known_;
  // Connections at every port where clients come, by one reading for all.
  std::map<std::uint16_t, os::Connections> clients_;
  Instant clients_read_{};
  std::optional<std::map<std::uint64_t, std::uint16_t>> listeners_;  // by inode; of one report()
};

}  // namespace gpuward::control
