// The temp folder of a tree (key `private_tmp`): whom it is kept for, and when it is emptied.

#include "anchor/anchor.h"
#include "os/private_folder.h"

namespace gpuward::anchor {

// From now on somebody may use it of whom no later anchor knows. Said beside the folder and not in
// the record: that one ends with the next tree.
Result<void> Anchor::keep_temp_folder() {
  if (plan_.temp_folder.empty()) return {};
  return os::keep_private_folder(plan_.temp_folder, boot_id_);
}

// The folder of a tree that is proven gone, and of no other: who may still live, unseen or in a
// container, may still use it.
void Anchor::clear_temp_folder(bool for_good) {
  if (plan_.temp_folder.empty() || state_.doubt || starts_containers(plan_) ||
      tree_.handed_over().any())
    return;
  if (os::is_kept(plan_.temp_folder, boot_id_)) {
    if (!for_good)
      log_.note("its temp folder is not emptied: what was handed over or left unseen may use it");
    return;
  }
  Result<void> cleared;
  if (for_good) {
    cleared = os::remove_private_folder(plan_.temp_folder);
  } else {
    auto folder = os::Fd::open(plan_.temp_folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    cleared = folder ? os::empty_folder(*folder) : fail(std::move(folder).error());
  }
  if (!cleared) note_failure("its temp folder could not be emptied", cleared.error());
}

}  // namespace gpuward::anchor
