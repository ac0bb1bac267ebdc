// What an anchor hands over instead of ending it: by key `release` at each end, or all of it.

#include "anchor/anchor.h"
#include "anchor/release.h"
#include "os/clock.h"

namespace gpuward::anchor {

void Anchor::let_out_of_limits(Pid pid) const {
  if (!in_container_of_its_own(pid)) limits_of_tree_.let_out(pid);
}

// On record before anything is ended: whoever takes the tree over meanwhile must not end them.
void Anchor::hand_over() {
  HandOver& told = state_.receipt.released;
  const auto before = told.list.size();
  tree_.hand_over(plan_.release, main_, &told);
  if (told.list.size() == before && told.trouble.empty()) return;
  tree_.handed_over().for_each([this](Pid pid) { let_out_of_limits(pid); });
  tree_.handed_over().note(&state_);
  state_.outside = static_cast<std::uint32_t>(tree_.seen().size());
  update_record();
  if (auto kept = keep_temp_folder(); !kept)
    note_failure("that its temp folder is kept could not be noted", kept.error());
  note_released(told);
}

// First on record: from then on no file leads anybody to these processes, and nobody takes them for
// leftovers of the service. Then they are let go.
void Anchor::give_up() {
  const bool runs = std::holds_alternative<life::Starting>(life_.state) ||
                    std::holds_alternative<life::Ready>(life_.state);
  // A PID namespace ends with its anchor's hold on it; a container is its engine's.
  if (!runs || tree_.space() || state_.container.awaited) return publish();
  given_up_ = true;
  state_.receipt = Receipt{};
  state_.receipt.generation = life_.generation;
  state_.receipt.at_unix_ms = os::unix_ms_now();
  tree_.give_up(&state_.receipt.released);
  if (auto kept = keep_temp_folder(); !kept)
    note_failure("that its temp folder is kept could not be noted", kept.error());
  note_released(state_.receipt.released);
  main_ = os::Process();
  state_.has_released = true;
  state_.outside = 0;
  state_.cgroup.clear();
  state_.released_group.clear();
  state_.kept.clear();
  state_.tree_variable.clear();
  happen(life::GivenUp{});
}

void Anchor::let_go() {
  tree_.for_each_pid([this](Pid pid) { let_out_of_limits(pid); });
  if (auto moved = tree_.let_go(); !moved) {
    state_.receipt.released.trouble = "the cgroup of the service stays, with its processes: ";
    state_.receipt.released.trouble.append(moved.error().doing);
  }
}

}  // namespace gpuward::anchor
