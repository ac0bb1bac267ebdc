#include "os/folder_sweep.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "os/clock.h"

namespace gpuward::os {
namespace {

constexpr std::uint8_t kMostPasses = 8;
constexpr std::uint32_t kMostFruitless = 1 << 20;  // then a list leads in circles

// Files are looked at as this user meanwhile; fsuid belongs to the thread, and the kernel takes the
// rights over files of others away with it (setfsuid(2)).
class As {
 public:
  explicit As(const FolderSweep::User* user) : on_(user != nullptr) {
    if (!on_) return;
    gid_ = static_cast<gid_t>(::setfsgid(user->gid));
    uid_ = static_cast<uid_t>(::setfsuid(user->uid));
  }
  As(const As&) = delete;
  As& operator=(const As&) = delete;
  ~As() {
    if (!on_) return;
    ::setfsuid(uid_);
    ::setfsgid(gid_);
  }

 private:
  bool on_;
  uid_t uid_ = 0;
  gid_t gid_ = 0;
};

std::int64_t last_use(const struct stat& info) {
  return std::max({info.st_atim.tv_sec, info.st_mtim.tv_sec, info.st_ctim.tv_sec});
}

// A lease to write is given only where no other descriptor and no mapping is left of a file. Where
// the file system has none, the times alone have to do. Who opens it meanwhile waits until we have
// closed it; that we are told of that must not end us, as SIGIO would.
bool held_open(const Fd& file) {
  (void)::fcntl(file.get(), F_SETSIG, SIGURG);
  if (::fcntl(file.get(), F_SETLEASE, F_WRLCK) == 0) return false;
  return errno == EAGAIN;
}

}  // namespace

FolderPlace place_of(const Fd& folder) {
  FolderPlace place;
  struct stat info{};
  if (::fstat(folder.get(), &info) == 0) place.device = info.st_dev;
  std::array<char, 48> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/fdinfo/%d", folder.get());
  std::array<char, 256> buffer{};
  const auto text = read_small(path.data(), buffer);
  constexpr std::string_view kKey = "mnt_id:";
  const auto at = text ? text->find(kKey) : std::string_view::npos;
  if (at != std::string_view::npos) place.mount = std::atol(text->data() + at + kKey.size());
  return place;
}

struct FolderSweep::Entry {  // struct linux_dirent64, getdents64(2)
  std::uint64_t inode;
  std::int64_t next;
  std::uint16_t length;
  std::uint8_t type;
  char name[1];
};

FolderSweep FolderSweep::begin(Fd folder) {
  FolderSweep sweep;
  struct stat info{};
  if (::fstat(folder.get(), &info) < 0 || ::lseek(folder.get(), 0, SEEK_SET) < 0) {
    sweep.note(last_error("look into a folder"));
    return sweep;
  }
  sweep.place_ = place_of(folder);
  sweep.levels_[0] = Level{.dir = std::move(folder), .device = info.st_dev, .inode = info.st_ino};
  sweep.depth_ = 0;
  return sweep;
}

FolderSweep FolderSweep::of_all(Fd folder) {
  FolderSweep sweep = begin(std::move(folder));
  sweep.all_ = true;
  return sweep;
}

FolderSweep FolderSweep::of_unused(Fd folder, std::int64_t unused_since_s, const User* user) {
  FolderSweep sweep = begin(std::move(folder));
  sweep.unused_since_s_ = unused_since_s;
  sweep.as_user_ = user != nullptr;
  if (user != nullptr) sweep.user_ = *user;
  return sweep;
}

bool FolderSweep::step(std::uint32_t most, std::chrono::microseconds patience) {
  const Instant until = now() + patience;
  for (std::uint32_t seen = 0; active() && seen < most && now() < until;) seen += read_some();
  return active();
}

// One piece of the deepest folder. @return how many entries it had, at least 1.
std::uint32_t FolderSweep::read_some() {
  alignas(Entry) std::array<char, 2048> buffer;
  const Fd& dir = levels_[static_cast<std::size_t>(depth_)].dir;
  off_t here = ::lseek(dir.get(), 0, SEEK_CUR);
  const long n = ::syscall(SYS_getdents64, dir.get(), buffer.data(), buffer.size());
  if (n < 0) note(last_error("list a folder"));
  if (++fruitless_ > kMostFruitless && all_) {
    note(error_from(ELOOP, "empty a folder whose list does not end"));
    while (active()) levels_[static_cast<std::size_t>(depth_--)] = {};
    return 1;
  }
  if (n <= 0) {
    leave();
    return 1;
  }
  std::uint32_t seen = 0;
  for (long at = 0; at < n; ++seen) {
    const auto* entry = reinterpret_cast<const Entry*>(buffer.data() + at);
    at += entry->length;
    const std::string_view name(entry->name);
    if (name != "." && name != ".." && take(*entry, here) == Next::level) break;
    here = entry->next;
  }
  return std::max(seen, 1U);
}

// @p here: where it stands in its folder.
FolderSweep::Next FolderSweep::take(const Entry& entry, off_t here) {
  const Level& level = levels_[static_cast<std::size_t>(depth_)];
  bool folder = entry.type == DT_DIR;
  if (entry.type == DT_UNKNOWN) {  // some file systems do not tell it when they list
    struct stat info{};
    if (::fstatat(level.dir.get(), entry.name, &info, AT_SYMLINK_NOFOLLOW) < 0) return Next::entry;
    folder = S_ISDIR(info.st_mode);
  }
  if (folder) return take_folder(entry.name, entry.inode, here);
  if (all_)
    take_file(entry.name);
  else if (entry.type == DT_REG || entry.type == DT_UNKNOWN)
    take_unused(entry.name);
  return Next::entry;
}

FolderSweep::Next FolderSweep::take_folder(const char* name, ino_t listed, off_t here) {
  const Level& level = levels_[static_cast<std::size_t>(depth_)];
  if (all_ && ::unlinkat(level.dir.get(), name, AT_REMOVEDIR) == 0) {
    removed();
    return Next::entry;
  }
  if (all_ && listed == level.left) {  // it was emptied just now, as far as it could be
    if (errno != ENOENT) note(last_error("remove", name));
    return Next::entry;
  }
  auto below = open_below(name);
  if (!below) {
    const int why = below.error().code.value();
    if (why != ENOENT && why != ENOTDIR && why != ELOOP) note(below.error());
    return Next::entry;
  }
  if (depth_ + 1 < kMostLevels) return descend(std::move(*below), listed, here);
  if (!all_ || !bring_up(name, listed))
    note(error_from(ELOOP, "look into what is nested deeper than 32 folders"));
  return Next::entry;
}

Result<Fd> FolderSweep::open_below(const char* name) const {
  const Level& level = levels_[static_cast<std::size_t>(depth_)];
  const As user(as_user_ ? &user_ : nullptr);
  auto below = Fd::open_at(level.dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (below || !all_ || below.error().code.value() != EACCES) return below;
  (void)::fchmodat(level.dir.get(), name, 0700, 0);  // its owner may have closed it
  return Fd::open_at(level.dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

// Once it has been left, it is met here again, to be removed.
FolderSweep::Next FolderSweep::descend(Fd dir, ino_t listed, off_t here) {
  const Level& level = levels_[static_cast<std::size_t>(depth_)];
  struct stat info{};
  if (::fstat(dir.get(), &info) < 0 || place_of(dir) != place_) {
    note(error_from(EXDEV, "leave what is mounted in a folder"));
    return Next::entry;
  }
  if (all_) {
    (void)::lseek(level.dir.get(), here, SEEK_SET);
    if ((info.st_mode & 0700) != 0700) (void)::fchmod(dir.get(), 0700);
  }
  levels_[static_cast<std::size_t>(++depth_)] =
      Level{.dir = std::move(dir), .device = info.st_dev, .inode = info.st_ino, .listed = listed};
  return Next::level;
}

// What is nested deeper than there are levels is laid into the first one, and met there again.
bool FolderSweep::bring_up(const char* name, ino_t listed) {
  const Level& level = levels_[static_cast<std::size_t>(depth_)];
  std::array<char, 40> up{};
  std::snprintf(up.data(), up.size(), "deep-%llu", static_cast<unsigned long long>(listed));
  if (::renameat(level.dir.get(), name, levels_[0].dir.get(), up.data()) < 0) return false;
  levels_[0].changed = true;
  levels_[0].passes = 0;
  removed();
  return true;
}

void FolderSweep::removed() {
  ++tally_.files;
  fruitless_ = 0;
  levels_[static_cast<std::size_t>(depth_)].changed = true;
}

void FolderSweep::take_file(const char* name) {
  if (::unlinkat(levels_[static_cast<std::size_t>(depth_)].dir.get(), name, 0) == 0)
    removed();
  else if (errno != ENOENT)
    note(last_error("remove", name));
}

void FolderSweep::take_unused(const char* name) {
  const Fd& dir = levels_[static_cast<std::size_t>(depth_)].dir;
  const As user(as_user_ ? &user_ : nullptr);
  struct stat seen{};
  if (::fstatat(dir.get(), name, &seen, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(seen.st_mode)) return;
  const auto keep = [&](const struct stat& info) {
    auto& oldest = tally_.oldest_kept_s;
    oldest = oldest == 0 ? last_use(info) : std::min<std::int64_t>(oldest, last_use(info));
  };
  if (last_use(seen) >= unused_since_s_) return keep(seen);
  const auto file = Fd::open_at(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  struct stat held{};
  if (file) {
    if (held_open(*file)) return;
    if (::fstat(file->get(), &held) < 0 || held.st_ino != seen.st_ino || !S_ISREG(held.st_mode))
      return;
    if (last_use(held) >= unused_since_s_) return keep(held);
  }
  if (!in_place()) return;
  if (::unlinkat(dir.get(), name, 0) < 0) {
    if (errno != ENOENT) note(last_error("remove", name));
    return;
  }
  removed();
  tally_.bytes += Bytes{static_cast<std::uint64_t>(seen.st_size)};
}

// A folder may have been moved out while it was being looked through.
bool FolderSweep::in_place() const {
  for (int at = depth_; at > 0; --at) {
    const Level& level = levels_[static_cast<std::size_t>(at)];
    const Level& above = levels_[static_cast<std::size_t>(at - 1)];
    struct stat info{};
    if (::fstatat(level.dir.get(), "..", &info, AT_SYMLINK_NOFOLLOW) < 0) return false;
    if (info.st_ino != above.inode || info.st_dev != above.device) return false;
  }
  return true;
}

void FolderSweep::leave() {
  Level& level = levels_[static_cast<std::size_t>(depth_)];
  if (all_ && level.changed && ++level.passes < kMostPasses) {
    level.changed = false;
    level.left = 0;
    if (::lseek(level.dir.get(), 0, SEEK_SET) == 0) return;
  }
  const ino_t listed = level.listed;
  level = {};
  if (--depth_ >= 0) levels_[static_cast<std::size_t>(depth_)].left = listed;
}

}  // namespace gpuward::os
