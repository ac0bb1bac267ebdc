#include "anchor/reader.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string_view>

#include "os/proc_fs.h"

namespace gpuward::anchor {
namespace {

constexpr char kTitle[] = "gpuward-reader";
std::span<char> title;

// The lock, the clients' sockets, the cgroups: as long as we had them, the anchor would seem alive.
void close_all_but_those_of(const LogPump& pump) {
  auto list = os::Fd::open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
  if (!list) ::_exit(1);
  (void)os::for_each_entry(*list, [&](std::string_view name, bool) {
    const auto number = os::parse_pid(name);  // digits; 0 is kept
    if (number && number->number > 2 && number->number != list->get() && !pump.uses(number->number))
      ::close(number->number);
    return true;
  });
}

[[noreturn]] void read_on(LogPump& pump) {
  close_all_but_those_of(pump);
  std::ranges::fill(title, '\0');
  std::string_view(kTitle).copy(title.data(), title.size());
  ::prctl(PR_SET_NAME, kTitle);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  pump.read_until_nobody_writes();
  ::_exit(0);
}

}  // namespace

void keep_title(std::span<char> words) {
  title = words;
}

Result<void> leave_reader(LogPump& pump, const os::Fd& dir) {
  auto out = os::Fd::open_at(dir, "out", O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  if (!out) return fail(std::move(out).error());
  auto err = os::Fd::open_at(dir, "err", O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  if (!err) return fail(std::move(err).error());
  const pid_t child = ::fork();
  if (child < 0) return fail(last_error("fork a reader"));
  if (child == 0) {
    pump.only_read(std::move(*out), std::move(*err));
    read_on(pump);
  }
  for (const char* name : {"out", "err"}) ::unlinkat(dir.get(), name, 0);
  return {};
}

}  // namespace gpuward::anchor
