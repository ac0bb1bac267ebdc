#include "anchor/reader.h"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string_view>

#include "anchor/scratch.h"
#include "control/messages.h"
#include "os/proc_fs.h"
#include "os/socket.h"

namespace gpuward::anchor {
namespace {

constexpr char kTitle[] = "gpuward-reader";
std::span<char> title;

// The lock, the clients' sockets, the cgroups: as long as we had them, the anchor would seem alive.
void close_all_but_those_of(const LogPump& pump, int gate, int dir) {
  auto list = os::Fd::open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
  if (!list) ::_exit(1);
  (void)os::for_each_entry(*list, [&](std::string_view name, bool) {
    const auto number = os::parse_pid(name);  // digits; 0 is kept
    const int fd = number ? number->number : 0;
    if (fd > 2 && fd != list->get() && fd != gate && fd != dir && !pump.uses(fd)) ::close(fd);
    return true;
  });
}

void wait_for_the_end_of_the_anchor(const os::Fd& gate) {
  char none = 0;
  while (::read(gate.get(), &none, 1) < 0 && errno == EINTR) {
  }
}

// Of an AnchorRecord what a reader needs: nothing that is allocated.
struct LastState {
  static constexpr std::uint8_t kKind = AnchorRecord::kKind;
  AnchorState state;
};
template <class A>
void fields(A& a, LastState& v) {
  a(3, v.state);
}

bool is_over_by_record(const os::Fd& dir) {
  const auto text = os::read_small_at(
      dir, "record", {reinterpret_cast<char*>(scratch.record.data()), scratch.record.size()});
  if (!text || text->size() < wire::kFrameHeader) return false;
  const auto body = wire::open_body(std::as_bytes(std::span(*text)).subspan(wire::kFrameHeader));
  if (!body) return false;
  const auto last = wire::decode<LastState>(*body);
  return last && is_over(last->state.phase);
}

// Somebody may lead a tree here again by now: then the FIFOs that have names are read by that one.
bool may_read(const os::Fd& dir) {
  if (!is_over_by_record(dir)) return false;
  struct stat named{};
  if (::fstatat(dir.get(), "out", &named, AT_SYMLINK_NOFOLLOW) < 0) return errno == ENOENT;
  auto lock = os::Fd::open_regular_at(dir, "lock", O_RDWR | O_NOFOLLOW);
  if (!lock || !os::lock(*lock)) return false;
  unlink_fifos(dir);  // its anchor was killed before it did
  return true;
}

[[noreturn]] void read_on(LogPump& pump, const os::Fd& gate, const os::Fd& dir) {
  close_all_but_those_of(pump, gate.get(), dir.get());
  std::ranges::fill(title, '\0');
  std::string_view(kTitle).copy(title.data(), title.size());
  ::prctl(PR_SET_NAME, kTitle);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  wait_for_the_end_of_the_anchor(gate);
  if (!may_read(dir)) ::_exit(0);
  ::close(dir.get());
  pump.read_until_nobody_writes();
  ::_exit(0);
}

}  // namespace

void keep_title(std::span<char> words) {
  title = words;
}

Result<os::Fd> leave_reader(LogPump& pump, const os::Fd& dir) {
  auto out = os::Fd::open_at(dir, "out", O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  if (!out) return fail(std::move(out).error());
  auto err = os::Fd::open_at(dir, "err", O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  if (!err) return fail(std::move(err).error());
  auto gate = os::make_pipe();
  if (!gate) return fail(std::move(gate).error());
  const pid_t child = ::fork();
  if (child < 0) return fail(last_error("fork a reader"));
  if (child == 0) {
    pump.only_read(std::move(*out), std::move(*err));
    gate->write.close();
    read_on(pump, gate->read, dir);
  }
  return std::move(gate->write);
}

void unlink_fifos(const os::Fd& dir) {
  for (const char* name : {"out", "err"}) ::unlinkat(dir.get(), name, 0);
}

}  // namespace gpuward::anchor
