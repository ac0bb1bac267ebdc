#include "os/private_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string_view>

#include "os/folder_sweep.h"

namespace gpuward::os {
namespace {

constexpr std::uint32_t kAtOnce = 1 << 20;
constexpr auto kALongTurn = std::chrono::seconds(1);
constexpr int kMostAside = 64;

// "PATH.kept" and the like. False: too long.
bool path_beside(const std::string& path, const char* what, std::array<char, 4096>& beside) {
  const int n = std::snprintf(beside.data(), beside.size(), "%s.%s", path.c_str(), what);
  return n > 0 && static_cast<std::size_t>(n) < beside.size();
}

bool note_path(const std::string& path, std::array<char, 4096>& note) {
  return path_beside(path, "kept", note);
}

// The folder itself, closed to everybody but its user, whatever it was before.
Result<Fd> own_folder(const std::string& path, uid_t uid, gid_t gid) {
  if (::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST) return fail(last_error("make", path));
  auto dir = Fd::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!dir) return dir;
  struct stat info{};
  if (::fstat(dir->get(), &info) < 0) return fail(last_error("stat", path));
  const bool own = info.st_uid == uid && info.st_gid == gid;
  if (!own && ::fchown(dir->get(), uid, gid) < 0) return fail(last_error("give away", path));
  if (::fchmod(dir->get(), 0700) < 0) return fail(last_error("set the mode of", path));
  return dir;
}

Result<void> prepare_parent(const std::string& path) {
  const std::string parent = path.substr(0, path.rfind('/'));
  GPUWARD_TRY(make_directories(parent, 0711));
  auto dir = Fd::open(parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!dir) return fail(std::move(dir).error());
  struct stat info{};
  if (::fstat(dir->get(), &info) < 0) return fail(last_error("stat", parent));
  if (info.st_uid != ::geteuid() || (info.st_mode & 022) != 0) {
    Error error(Errc::refused, "use '");
    error.doing.append(parent).append(
        "': it must belong to this user and be writable by nobody else");
    return fail(error);
  }
  // Whatever umask made of it.
  if ((info.st_mode & 0777) != 0711 && ::fchmod(dir->get(), 0711) < 0)
    return fail(last_error("set the mode of", parent));
  return {};
}

}  // namespace

Result<Fd> make_private_folder(const std::string& path, uid_t uid, gid_t gid) {
  GPUWARD_TRY(prepare_parent(path));
  return own_folder(path, uid, gid);
}

Result<void> empty_folder(const Fd& folder) {
  auto copy = folder.duplicate();
  if (!copy) return fail(std::move(copy).error());
  FolderSweep sweep = FolderSweep::of_all(std::move(*copy));
  while (sweep.step(kAtOnce, kALongTurn)) {
  }
  if (sweep.tally().trouble) return fail(*sweep.tally().trouble);
  return {};
}

Result<void> lay_aside(const std::string& path, uid_t uid, gid_t gid) {
  std::array<char, 4096> beside{};
  if (!path_beside(path, "old", beside))
    return fail(error_from(ENAMETOOLONG, "lay it aside", path));
  if (::mkdir(beside.data(), 0700) < 0 && errno != EEXIST)
    return fail(last_error("make", beside.data()));
  auto aside = Fd::open(beside.data(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!aside) return fail(std::move(aside).error());
  struct stat info{};
  if (::lstat(path.c_str(), &info) < 0) return fail(last_error("stat", path));
  std::array<char, 40> name{};
  for (int n = 0; n < kMostAside; ++n) {
    std::snprintf(name.data(), name.size(), "%llu-%d", static_cast<unsigned long long>(info.st_ino),
                  n);
    if (::renameat(AT_FDCWD, path.c_str(), aside->get(), name.data()) == 0) {
      auto made = own_folder(path, uid, gid);
      return made ? Result<void>{} : fail(std::move(made).error());
    }
    if (errno != ENOTEMPTY && errno != EEXIST) break;
  }
  return fail(last_error("lay it aside", path));
}

Result<Fd> open_aside(const std::string& path) {
  std::array<char, 4096> beside{};
  if (!path_beside(path, "old", beside)) return fail(error_from(ENAMETOOLONG, "look beside", path));
  return Fd::open(beside.data(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

bool remove_aside(const std::string& path) {
  std::array<char, 4096> beside{};
  return !path_beside(path, "old", beside) || ::rmdir(beside.data()) == 0 || errno == ENOENT;
}

Result<void> empty_aside(const std::string& path) {
  auto aside = open_aside(path);
  if (!aside && aside.error().code.value() == ENOENT) return {};
  if (!aside) return fail(std::move(aside).error());
  GPUWARD_TRY(empty_folder(*aside));
  if (!remove_aside(path)) return fail(last_error("remove what was laid aside of", path));
  return {};
}

Result<void> keep_private_folder(const std::string& path, std::string_view boot_id) {
  std::array<char, 4096> note{};
  if (!note_path(path, note)) return fail(error_from(ENAMETOOLONG, "note that it is kept", path));
  auto file = Fd::open_regular_at(Fd(), note.data(), O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
  if (!file) return fail(std::move(file).error());
  if (::pwrite(file->get(), boot_id.data(), boot_id.size(), 0) != std::ssize(boot_id))
    return fail(last_error("write", note.data()));
  return {};
}

bool is_kept(const std::string& path, std::string_view boot_id) {
  std::array<char, 4096> note{};
  if (!note_path(path, note)) return true;
  const auto file = Fd::open_regular_at(Fd(), note.data(), O_RDONLY | O_NOFOLLOW);
  if (!file) return file.error().code.value() != ENOENT;
  std::array<char, 64> text{};
  const ssize_t n = ::read(file->get(), text.data(), text.size());
  if (n < 0) return true;
  // A note that was cut short by a full disk is one of now, as far as anybody can tell.
  const std::string_view said(text.data(), static_cast<std::size_t>(n));
  if (said.size() < boot_id.size() || said == boot_id) return true;
  ::unlink(note.data());
  return false;
}

Result<void> remove_private_folder(const std::string& path) {
  auto emptied = empty_aside(path);
  auto dir = Fd::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!dir && dir.error().code.value() == ENOENT) return emptied;
  if (!dir) return fail(std::move(dir).error());
  GPUWARD_TRY(empty_folder(*dir));
  if (::rmdir(path.c_str()) < 0) return fail(last_error("remove", path));
  return emptied;
}

}  // namespace gpuward::os
