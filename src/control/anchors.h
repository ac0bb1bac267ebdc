#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/channel.h"
#include "control/home.h"
#include "control/marked.h"
#include "control/messages.h"
#include "domain/service.h"
#include "os/process.h"

// Anchors from outside: which there are, what they say, and how one is started. For gpuward and
// gpuwardd alike; these functions may wait, each with a deadline.

namespace gpuward::control {

/// An anchor's folder, run/anchors/NAME.INDEX.
struct AnchorFolder {
  std::string service;
  std::uint32_t replica = 0;
  std::string path;
};
AnchorFolder anchor_folder(const Home& home, const std::string& service, std::uint32_t replica);

/// All folders there are, by name, dead ones too. A folder that is not ours by its name is passed
/// over.
Result<std::vector<AnchorFolder>> list_anchors(const Home& home);

/// ENOENT when there is none yet; Errc::bad_message when it is damaged. @p dir: the anchor's
/// folder.
Result<AnchorRecord> read_record(const os::Fd& dir);
/// The same, but what lived before a reboot is said to be stopped: its pids are somebody else's.
Result<AnchorRecord> read_record(const AnchorFolder& folder);

/// Does an anchor hold this folder now? By its lock, which the kernel releases when it dies.
bool anchor_lives(const AnchorFolder& folder);

/// Connects to a living anchor. Errc::unreachable when none answers.
Result<Channel> connect_anchor(const AnchorFolder& folder);

/// What the cgroup of a replica is called. Installs side by side must not share one: the run
/// folder's identity is part of the name.
Result<std::string> cgroup_name(const Home& home, const std::string& service,
                                std::uint32_t replica);

struct Launched {
  os::Process anchor;
  Channel channel;  ///< subscribed: every change of state comes here
  AnchorFolder folder;
};
/// Starts gpuward-anchor (beside this program) with @p plan. Returns once it runs; what becomes of
/// the tree is told over the channel. @p marked saves it a look of its own at every process.
Result<Launched> launch_anchor(const LaunchPlan& plan, const Home& home,
                               const MarkedTree& marked = {});

/// KILLs at once, through pidfds, whom the record of a dead anchor names: for `on_anchor_death =
/// "kill"`. Proves nothing: an anchor that adopts does. Nobody is touched whose tree was ever
/// restored by the driver.
void kill_recorded(const AnchorRecord& record);

/// Starts a new anchor for the living tree of a dead one. Its first word is its state, or that it
/// could not: then is_refusal() of it holds, and it has ended. @p marked as with launch_anchor().
Result<Launched> launch_adopter(const AnchorFolder& folder, const MarkedTree& marked = {});
/// The same, and waits until it leads the tree.
Result<Launched> adopt_anchor(const AnchorFolder& folder);
/// Is this the word of an anchor that could not even begin?
bool is_refusal(const AnchorState& state);

/// The next state that an anchor tells. Errc::unreachable when it has exited.
Result<AnchorState> next_state(Channel& channel, Instant deadline);

/// Removes the cgroups that a dead anchor left behind when its tree had ended without it, and,
/// where its own group proves that end, its temp folder. Where the record is lost they are looked
/// for by their name, where groups are made now.
void remove_empty_group(const Home& home, const AnchorFolder& folder);

/// Removes a dead anchor's folder; refuses while one lives there.
Result<void> remove_folder(const AnchorFolder& folder);

}  // namespace gpuward::control
