#include "os/durable.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "os/fd.h"

namespace gpuward::os {
namespace {

Result<void> write_new(const std::string& path, std::span<const std::byte> bytes, mode_t mode) {
  // Never through a link or into a file that somebody else laid there, see replace_file_at().
  constexpr int kFresh = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
  auto file = Fd::open(path.c_str(), kFresh, mode);
  if (!file && file.error().code.value() == EEXIST) {  // of a writer that was killed
    ::unlink(path.c_str());
    file = Fd::open(path.c_str(), kFresh, mode);
  }
  if (!file) return fail(std::move(file).error());
  GPUWARD_TRY(write_all(*file, bytes, path));
  if (::fdatasync(file->get()) < 0) return fail(last_error("sync", path));
  return {};
}

}  // namespace

Result<void> replace_file_durably(const std::string& path, std::span<const std::byte> bytes,
                                  mode_t mode) {
  const std::string fresh = path + ".new";
  GPUWARD_TRY(write_new(fresh, bytes, mode));
  if (::rename(fresh.c_str(), path.c_str()) < 0) return fail(last_error("rename to", path));
  const auto slash = path.rfind('/');
  const std::string name = slash == path.npos ? "." : path.substr(0, slash + 1);
  auto folder = Fd::open(name.c_str(), O_RDONLY | O_DIRECTORY);
  if (!folder) return fail(std::move(folder).error());
  if (::fsync(folder->get()) < 0) return fail(last_error("sync", name));
  return {};
}

}  // namespace gpuward::os
