// gpuward-anchor [--adopt [--marked]] DIR: leads one process tree, a new one or that of a dead
// anchor. Started by gpuward or gpuwardd with its launcher's socket as descriptor 3; its plan, or
// with --marked who carries the mark of that tree, comes over that socket, its state goes back.

#include <malloc.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "anchor/anchor.h"
#include "anchor/reader.h"
#include "control/messages.h"
#include "os/clock.h"

// The library's own prints the name of the exception's type, and brings the demangler for that: 30
// KiB in each of a thousand anchors, none of which throws. The linker takes this one instead.
namespace __gnu_cxx {  // NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)
void __verbose_terminate_handler() {  // NOLINT(bugprone-reserved-identifier)
  std::abort();
}
}  // namespace __gnu_cxx

namespace {

using namespace gpuward;

constexpr int kLauncher = 3;
constexpr int kFolderAttempts = 20;

struct Folder {
  os::Fd dir;
  os::Fd lock;
};

// The folder's lock is held for life: the proof, to everyone who tries it, that this anchor lives.
// Whoever removes the folder of a dead anchor holds the lock meanwhile: what was waited for may no
// longer be what stands there, and is opened anew.
Result<Folder> lock_folder(const char* path, bool make) {
  for (int attempt = 0; attempt < kFolderAttempts; ++attempt) {
    if (make) GPUWARD_TRY(os::make_directories(path, 0700));
    auto dir = os::Fd::open(path, O_RDONLY | O_DIRECTORY);
    if (!dir && make && dir.error().code.value() == ENOENT) continue;
    if (!dir) return fail(std::move(dir).error());
    auto lock = os::Fd::open_regular_at(*dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (!lock && lock.error().code.value() == ENOENT) continue;
    if (!lock) return fail(std::move(lock).error());
    if (!os::lock(*lock)) return fail(Errc::taken, "start: it runs already");
    struct stat held{};
    struct stat there{};
    const std::string name = std::string(path) + "/lock";
    if (::fstat(lock->get(), &held) == 0 && ::lstat(name.c_str(), &there) == 0 &&
        held.st_ino == there.st_ino && held.st_dev == there.st_dev)
      return Folder{std::move(*dir), std::move(*lock)};
  }
  return fail(Errc::taken, "start: its folder is removed again and again");
}

// Reads exactly one frame: what the launcher says after it (that it sees the GPU) is for the loop.
Result<LaunchOrder> receive_order(const os::Fd& launcher) {
  std::array<std::byte, wire::kFrameHeader> header;
  if (::recv(launcher.get(), header.data(), header.size(), MSG_WAITALL) != std::ssize(header))
    return fail(Errc::unreachable, "read the launch plan");
  const std::size_t length = wire::frame_length(header);
  if (length > wire::kMaxSmall)
    return fail(Errc::bad_message, "read a launch plan beyond its limit");
  std::vector<std::byte> bytes(length);
  if (::recv(launcher.get(), bytes.data(), length, MSG_WAITALL) != static_cast<ssize_t>(length))
    return fail(Errc::unreachable, "read the launch plan");
  auto body = wire::open_body(bytes);
  if (!body) return fail(std::move(body).error());
  auto order = wire::decode<LaunchOrder>(*body);
  if (!order) return fail(std::move(order).error());
  return std::move(*order);
}

struct Task {
  const char* path;
  bool adopt = false;
  bool marked = false;  // the launcher says who carries the mark
};

// Never inlined: main's frame lasts, and would keep room for all that is moved about here.
[[gnu::noinline]] Result<anchor::Anchor> prepare(const Task& task, os::Fd& launcher) {
  LaunchOrder order;
  if (!task.adopt || task.marked) {
    auto received = receive_order(launcher);
    if (!received) return fail(std::move(received).error());
    order = std::move(*received);
  }
  if (!task.adopt && (order.plan.command.empty() || order.plan.service.empty()))
    return fail(Errc::invalid, "start without a command or a name");
  auto folder = lock_folder(task.path, !task.adopt);
  if (!folder) return fail(std::move(folder).error());
  if (task.adopt)
    return anchor::Anchor::adopt(order, std::move(folder->dir), std::move(folder->lock),
                                 std::move(launcher));
  return anchor::Anchor::prepare(std::move(order), std::move(folder->dir), std::move(folder->lock),
                                 std::move(launcher));
}

void report_failure(const os::Fd& launcher, const Error& error) {
  StateNews news;
  news.state.phase = Phase::failed;
  news.state.reason = Reason(error.message());
  news.state.name_taken = error.code == make_error_code(Errc::taken);
  std::array<std::byte, 2048> buffer;
  auto frame = wire::encode(news, buffer);
  if (frame) (void)os::write_all(launcher, *frame, "the launcher's socket");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--version") {
    std::puts("gpuward-anchor " GPUWARD_VERSION);
    return 0;
  }
  Task task{argv[argc - 1]};
  task.adopt = argc >= 3 && std::string_view(argv[1]) == "--adopt";
  task.marked = task.adopt && argc == 4 && std::string_view(argv[2]) == "--marked";
  if (argc != (task.marked ? 4 : task.adopt ? 3 : 2)) {
    std::fputs(
        "usage: gpuward-anchor [--adopt [--marked]] DIR\nStarted by gpuward and gpuwardd, not by "
        "hand.\n",
        stderr);
    return 2;
  }
  os::Fd launcher = os::Fd::take(kLauncher);
  if (!launcher.set_cloexec(true)) {
    std::fputs("gpuward-anchor: descriptor 3 is not open: it is started by gpuward, not by hand\n",
               stderr);
    return 2;
  }
  auto copy = launcher.duplicate();
  auto anchor = prepare(task, launcher);
  if (!anchor) {
    if (copy) report_failure(*copy, anchor.error());
    return 1;
  }
  if (copy) copy->close();
  char* last = argv[argc - 1];
  anchor::keep_title({argv[0], last + std::strlen(last)});
  // What the plan and the host's mounts were read into; from here on it is sealed.
  ::malloc_trim(0);
  return anchor->run();
}
