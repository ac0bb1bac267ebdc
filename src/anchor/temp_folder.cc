// The temp folder of a tree (key `private_tmp`): whom it is kept for, when it is emptied, and how
// long what lies in it may be unused.

#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "anchor/anchor.h"
#include "os/private_folder.h"

namespace gpuward::anchor {
namespace {

using namespace std::chrono_literals;

// One turn of the loop: output waits for it, and so does whoever asks.
constexpr std::uint32_t kEntriesATurn = 512;
constexpr auto kTurn = 5ms;
// A folder is looked through so often within the limit, but not more often than each second, and
// each hour at the latest: so much longer than the limit a file may lie there.
constexpr int kLooksInALimit = 24;
constexpr Duration kShortestPause = 1s;
constexpr Duration kLongestPause = 1h;

}  // namespace

// From now on somebody may use it of whom no later anchor knows. Said beside the folder and not in
// the record: that one ends with the next tree.
Result<void> Anchor::keep_temp_folder() {
  if (plan_.temp_folder.empty()) return {};
  return os::keep_private_folder(plan_.temp_folder, boot_id_);
}

// The folder of a tree that is proven gone, and of no other: who may still live, unseen or in a
// container, may still use it.
bool Anchor::may_clear_temp_folder() const {
  return !plan_.temp_folder.empty() && !state_.doubt && !starts_containers(plan_) &&
         !tree_.handed_over().any();
}

// Before main is started, which does not wait for more than one turn: what takes longer is laid
// aside, and emptied beside everything else.
void Anchor::clear_temp_folder() {
  if (!sweep_) return;
  *sweep_ = {};
  if (may_clear_temp_folder()) {
    if (os::is_kept(plan_.temp_folder, boot_id_))
      log_.note("its temp folder is not emptied: what was handed over or left unseen may use it");
    else if (auto cleared = make_temp_folder_empty(); !cleared)
      note_failure("its temp folder could not be emptied", cleared.error());
  }
  sweep_aside();
}

Result<void> Anchor::make_temp_folder_empty() {
  auto folder = os::Fd::open(plan_.temp_folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!folder) return fail(std::move(folder).error());
  auto sweep = os::FolderSweep::of_all(std::move(*folder));
  if (sweep.step(kEntriesATurn, kTurn)) {
    const uid_t user = rights_.change_user ? rights_.uid : ::geteuid();
    const gid_t group = rights_.change_user ? rights_.gid : ::getegid();
    auto laid = os::lay_aside(plan_.temp_folder, user, group);
    if (laid) return {};
    note_failure("the start waits until its temp folder is empty", laid.error());
    while (sweep.step(kEntriesATurn, kTurn)) {
    }
  }
  if (sweep.tally().trouble) return fail(*sweep.tally().trouble);
  return {};
}

// Whoever stops the service is told that it is done when nothing of its folder is left.
void Anchor::remove_temp_folder() {
  if (!sweep_) return;
  *sweep_ = {};
  const bool all =
      may_clear_temp_folder() && !given_up_ && !os::is_kept(plan_.temp_folder, boot_id_);
  auto removed = all ? os::remove_private_folder(plan_.temp_folder)
                     : os::empty_aside(plan_.temp_folder);  // nobody uses that any more
  if (!removed) note_failure("its temp folder could not be removed", removed.error());
}

// What this anchor, or an earlier one, has laid aside.
void Anchor::sweep_aside() {
  if (!sweep_) return;
  auto aside = os::open_aside(plan_.temp_folder);
  if (!aside) {
    if (aside.error().code.value() != ENOENT)
      note_failure("what lies beside its temp folder could not be emptied", aside.error());
    return;
  }
  sweeps_aside_ = true;
  *sweep_ = os::FolderSweep::of_all(std::move(*aside));
}

// From @p now on; there is nothing to do without main.
void Anchor::settle_temp_age(Instant now) {
  const Duration limit = plan_.temp_max_age;
  const bool wanted = sweep_ && limit != Duration::zero();
  age_at_ = wanted
                ? now + std::clamp<Duration>(limit / kLooksInALimit, kShortestPause, kLongestPause)
                : os::kNever;
}

void Anchor::age_temp_folder() {
  auto folder = os::Fd::open(plan_.temp_folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!folder) return note_failure("its temp folder could not be looked through", folder.error());
  const os::FolderSweep::User user{rights_.uid, rights_.gid};
  const auto limit = std::chrono::duration_cast<std::chrono::seconds>(plan_.temp_max_age);
  sweeps_aside_ = false;
  *sweep_ = os::FolderSweep::of_unused(std::move(*folder), std::time(nullptr) - limit.count(),
                                       rights_.change_user ? &user : nullptr);
}

// One turn of whatever there is to sweep.
void Anchor::sweep_temp_folder() {
  if (!sweep_) return;
  const Instant now = os::now();
  if (!sweep_->active()) {
    if (now < age_at_) return;
    settle_temp_age(now);
    if (!main_) return;
    age_temp_folder();
  }
  if (sweep_->step(kEntriesATurn, kTurn)) return;
  const auto& tally = sweep_->tally();
  if (tally.trouble)
    note_failure(sweeps_aside_ ? "what lies beside its temp folder could not be emptied"
                               : "its temp folder could not be looked through",
                 *tally.trouble);
  if (!sweeps_aside_ && tally.files != 0) {
    note_aged(tally);
    publish();
  }
  // More may have been laid aside meanwhile.
  const bool again = sweeps_aside_ && !tally.trouble && !os::remove_aside(plan_.temp_folder);
  *sweep_ = {};
  if (again) sweep_aside();
}

}  // namespace gpuward::anchor
