#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>

#include "base/error.h"
#include "base/units.h"
#include "os/fd.h"

namespace gpuward::os {

/// Where a folder lies. A bind mount of the same file system has its device too, but is another
/// mount; where the kernel does not tell that, the device has to do.
struct FolderPlace {
  dev_t device = 0;
  long mount = -1;
  friend bool operator==(const FolderPlace&, const FolderPlace&) = default;
};
FolderPlace place_of(const Fd& folder);

/// Goes through a folder and all below it and removes what is no longer wanted, some entries at a
/// time. Follows no link, enters nothing that is mounted there, touches nothing outside. Holds one
/// open folder for each level it is below the first. Allocates nothing.
class FolderSweep {
 public:
  /// As whom files are looked at and removed: root must not be led where its owner could not go.
  struct User {
    uid_t uid = 0;
    gid_t gid = 0;
  };
  /// What it has come to, since it began.
  struct Tally {
    std::uint64_t files = 0;         ///< removed, folders and the like with them
    Bytes bytes;                     ///< of the files that were removed for their age
    std::int64_t oldest_kept_s = 0;  ///< Unix time of the file that is unused for longest; 0: none
    std::optional<Error> trouble;    ///< of the last thing that was to go and stays
  };

  /// Everything in @p folder goes. Nobody else may be at work in it.
  static FolderSweep of_all(Fd folder);
  /// Files go that were neither read, written nor changed since @p unused_since_s (Unix time), and
  /// that nobody holds open, as far as the file system tells (fcntl(2), F_SETLEASE). Everything
  /// else stays: folders, sockets and FIFOs are found by name by who made them. Others may be at
  /// work there. @p user: null for whoever we are.
  static FolderSweep of_unused(Fd folder, std::int64_t unused_since_s, const User* user);

  FolderSweep() = default;
  /// Is there something left to do?
  bool active() const { return depth_ >= 0; }
  /// Looks at about @p most entries, and no longer than @p patience. @return active().
  bool step(std::uint32_t most, std::chrono::microseconds patience);
  const Tally& tally() const { return tally_; }

 private:
  static constexpr int kMostLevels = 32;

  struct Level {
    Fd dir{};
    dev_t device = 0;
    ino_t inode = 0;
    ino_t listed = 0;         // its number in the list above, which may be another one (overlayfs)
    ino_t left = 0;           // that of the folder that was come back from last
    bool changed = false;     // something was removed in this pass
    std::uint8_t passes = 0;  // a file system may pass over entries while others are removed
  };
  struct Entry;
  enum class Next : std::uint8_t { entry, level };

  static FolderSweep begin(Fd folder);
  std::uint32_t read_some();
  Next take(const Entry& entry, off_t here);
  Next take_folder(const char* name, ino_t listed, off_t here);
  Result<Fd> open_below(const char* name) const;
  Next descend(Fd dir, ino_t listed, off_t here);
  void take_file(const char* name);
  void take_unused(const char* name);
  bool bring_up(const char* name, ino_t listed);
  void removed();
  bool in_place() const;
  void leave();
  void note(Error error) { tally_.trouble = std::move(error); }

  std::array<Level, kMostLevels> levels_;
  int depth_ = -1;
  bool all_ = false;
  bool as_user_ = false;
  User user_;
  std::int64_t unused_since_s_ = 0;
  std::uint32_t fruitless_ = 0;  // pieces read since something was removed
  FolderPlace place_;
  Tally tally_;
};

}  // namespace gpuward::os
