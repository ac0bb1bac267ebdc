#include "os/private_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "os/proc_fs.h"

namespace gpuward::os {
namespace {

constexpr int kMaxDepth = 64;  // folders below; each level holds one open folder
constexpr int kPasses = 8;     // a file system may pass over entries while others are removed

// Where a folder lies. A bind mount of the same file system has its device too, but is another
// mount (proc_pid_fdinfo(5)); where the kernel does not tell that, the device has to do.
struct Place {
  dev_t device = 0;
  long mount = -1;
  friend bool operator==(const Place&, const Place&) = default;
};

Place place_of(const Fd& folder) {
  Place place;
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

std::optional<Error> empty(const Fd& dir, const Place& place, int depth);

std::optional<Error> remove_entry(const Fd& dir, const char* name, bool folder, const Place& place,
                                  int depth) {
  if (folder) {
    auto below = Fd::open_at(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!below && below.error().code.value() == EACCES) {
      (void)::fchmodat(dir.get(), name, 0700, 0);  // its owner may have closed it
      below = Fd::open_at(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    }
    const bool ours = below && place_of(*below) == place;
    if (ours)
      if (auto trouble = empty(*below, place, depth + 1)) return trouble;
  }
  if (::unlinkat(dir.get(), name, folder ? AT_REMOVEDIR : 0) == 0 || errno == ENOENT)
    return std::nullopt;
  // Some file systems do not tell the type of an entry when they list it.
  if (!folder && errno == EISDIR) return remove_entry(dir, name, true, place, depth);
  return last_error("remove", name);
}

std::optional<Error> empty(const Fd& dir, const Place& place, int depth) {
  if (depth > kMaxDepth) return error_from(ELOOP, "empty folders nested deeper than 64");
  std::optional<Error> trouble;
  for (int pass = 0; pass < kPasses; ++pass) {
    bool any = false;
    trouble.reset();
    auto listed = for_each_entry(dir, [&](std::string_view name, bool folder) {
      std::array<char, 256> leaf{};
      if (name.size() >= leaf.size()) return true;
      name.copy(leaf.data(), name.size());
      any = true;
      if (auto met = remove_entry(dir, leaf.data(), folder, place, depth)) trouble = met;
      return true;
    });
    if (!listed) return listed.error();
    if (!any || trouble) break;
  }
  return trouble;
}

// "PATH.kept". False: too long.
bool note_path(const std::string& path, std::array<char, 4096>& note) {
  const int n = std::snprintf(note.data(), note.size(), "%s.kept", path.c_str());
  return n > 0 && static_cast<std::size_t>(n) < note.size();
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

Result<void> empty_folder(const Fd& folder) {
  struct stat info{};
  if (::fstat(folder.get(), &info) < 0) return fail(last_error("stat a folder"));
  if (auto trouble = empty(folder, place_of(folder), 0)) return fail(*trouble);
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
  auto dir = Fd::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!dir && dir.error().code.value() == ENOENT) return {};
  if (!dir) return fail(std::move(dir).error());
  GPUWARD_TRY(empty_folder(*dir));
  if (::rmdir(path.c_str()) < 0) return fail(last_error("remove", path));
  return {};
}

}  // namespace gpuward::os
