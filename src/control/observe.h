#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/anchors.h"
#include "domain/report.h"
#include "os/cgroup.h"

// From what anchors say and /proc shows to what people read. For gpuward and gpuwardd alike.

namespace gpuward::control {

/// One replica: its folder, how it was started, what it says now.
struct AnchorView {
  AnchorFolder folder;
  LaunchPlan plan;
  AnchorState state;
  bool alive = false;   ///< its anchor runs
  bool silent = false;  ///< but does not answer: `state` is the last that was heard of it
};

/// Asks the living anchor, or reads the record of a dead one.
Result<AnchorView> view_anchor(const AnchorFolder& folder, Instant deadline);

/// Every process of the tree, parents before children, with depth. At most @p most; @p total counts
/// all of them. Held without a cgroup, its members are read from the record in @p folder.
std::vector<TreeProcess> read_tree(const AnchorFolder& folder, const AnchorState& state,
                                   std::size_t most, std::uint32_t* total);

/// The pids of the tree: cheaper than read_tree(), for those who ask each second.
std::set<std::uint32_t> tree_pids(const AnchorFolder& folder, const AnchorState& state);

/// Was this process handed over on purpose, by `release`? Then it is not of the tree any more.
/// @p by_mark_alone: the mark in its environment is all that speaks for the tree; what was handed
/// over has it too, and so has what it started since.
bool was_given_up(const AnchorState& state, const ProcessId& id, bool by_mark_alone);

/// Does a process of this tree live, although its anchor may be dead? @p marks: of a look that
/// saves another one, where nothing else tells of the tree.
bool tree_lives(const AnchorFolder& folder, const AnchorState& state,
                const MarkedProcesses& marks = {});

/// The cgroups of this home's services, found by their names wherever they stand. One walk through
/// the hierarchies answers for a second: a thousand services that start together ask a thousand
/// times. A group that is made meanwhile is made by an anchor, which has a record.
class HomeGroups {
 public:
  std::optional<os::Cgroup> find_populated(const std::string& name, Instant now);

 private:
  static constexpr auto kFresh = std::chrono::seconds(1);
  std::vector<os::NamedCgroup> groups_;
  Instant looked_{Duration::min() / 2};
};

/// What is known of a replica whose record is lost, as a sentence for people that names what lives
/// and the way out; none when its record is sound, or nothing speaks for it ever having run. Asks
/// the cgroup hierarchy by name: meant for when something is to be started, stopped or taken over.
std::optional<std::string> lost_tree(const Home& home, const AnchorFolder& folder,
                                     HomeGroups& groups);

/// The report on one service from its replicas. @p gpu may be empty.
/// @p brief: the processes are counted, not listed, and an anchor that lives is believed about
/// main. For a thousand services at a time.
ServiceReport report_on(const std::string& service, const std::vector<AnchorView>& replicas,
                        const GpuSnapshot& gpu, Instant now, bool brief = false);

}  // namespace gpuward::control
