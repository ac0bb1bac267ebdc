#include "anchor/kept_sockets.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "os/socket.h"

namespace gpuward::anchor {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr int kFirstHanded = 3;

Result<os::Fd> listen_at(std::string_view address) {
  if (address.starts_with(kUnix)) {
    const std::string path(address.substr(kUnix.size()));
    const auto slash = path.rfind('/');
    auto folder = os::Fd::open(path.substr(0, slash), O_PATH | O_DIRECTORY);
    if (!folder) return folder;
    return os::listen_unix_at(*folder, path.substr(slash + 1));
  }
  const auto tcp = os::parse_tcp_address(address);
  if (!tcp) return fail(Errc::invalid, "read a socket's address");
  return os::listen_tcp(*tcp);
}

}  // namespace

KeptSockets KeptSockets::prepare(std::span<const KeptSocket> sockets,
                                 std::span<const HandedFile> files) {
  KeptSockets kept;
  kept.sockets_ = sockets;
  kept.files_ = files;
  kept.fds_.resize(sockets.size() + files.size());
  kept.numbers_.resize(kept.fds_.size());
  return kept;
}

std::string KeptSockets::names() const {
  std::string all;
  const auto add = [&](const std::string& name) { all += (all.empty() ? "" : ":") + name; };
  for (const auto& socket : sockets_) add(socket.name);
  for (const auto& file : files_) add(file.name);
  return all;
}

void KeptSockets::take_from(const os::Process& main) {
  if (empty()) return;
  for (std::size_t n = 0; n < sockets_.size(); ++n)
    fds_[n] = os::Fd::take(static_cast<int>(
        ::syscall(SYS_pidfd_getfd, main.poll_fd(), kFirstHanded + static_cast<int>(n), 0U)));
}

Result<void> KeptSockets::make_ready() {
  for (std::size_t n = 0; n < fds_.size(); ++n) {
    const bool is_socket = n < sockets_.size();
    if (is_socket && !fds_[n]) {
      auto bound = listen_at(sockets_[n].address);
      if (!bound) return fail(std::move(bound).error());
      fds_[n] = std::move(*bound);
    }
    if (!is_socket) {
      const auto& path = files_[n - sockets_.size()].path;
      auto file = os::Fd::open_regular_at(os::Fd(), path.c_str(), O_RDONLY);
      if (!file) file = os::Fd::open("/dev/null", O_RDONLY);
      if (!file) return fail(std::move(file).error());
      fds_[n] = std::move(*file);
    }
    numbers_[n] = fds_[n].get();
  }
  return {};
}

}  // namespace gpuward::anchor
