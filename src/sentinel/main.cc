// gpuward-sentinel: makes every call into the GPU driver, so that nobody else can hang in one. It
// may be killed and started again at any time.

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "base/units.h"
#include "os/clock.h"
#include "sentinel/frame.h"
#include "sentinel/looker.h"
#include "sentinel/print.h"
#include "sentinel/serve.h"

// libgcc's unwinder asks the dynamic linker for _dl_find_object, which glibc has since 2.35 only;
// that one reference would keep this program from starting on older systems. Nothing here throws
// but out-of-memory, which is to end the process: "not found" makes it do so. Hidden, so that the
// driver's libraries keep the real one.
extern "C" __attribute__((visibility("hidden"))) int _dl_find_object(void*, void*);
extern "C" __attribute__((visibility("hidden"))) int _dl_find_object(void*, void*) {
  return -1;
}

namespace {

using namespace gpuward;

constexpr int kNotVisible = 1;
constexpr int kUsage = 2;
constexpr int kPeerDescriptor = 3;

constexpr char kHelp[] =
    "gpuward-sentinel --once [--json|--wire] [--within TIME]\n"
    "  one look at the GPUs: a table, one line of JSON, or one SnapshotNews frame\n"
    "  --within  when a look counts as hung (default 2s; cards that sleep may need more)\n"
    "gpuward-sentinel --serve\n"
    "  SnapshotNews frames on the connected socket that is descriptor 3: each second, and now for\n"
    "  every byte received; ends with the connection\n"
    "GPUWARD_NVML=PATH names another library than libnvidia-ml.so.1\n"
    "exit: 0 GPUs visible (or served until the end), 1 not visible (or failed), 2 usage\n";

struct Options {
  enum class Form { table, json, wire } form = Form::table;
  bool once = false;
  bool serve = false;
  bool help = false;
  std::chrono::milliseconds within = sentinel::kLookDeadline;
};

std::optional<Options> parse(std::span<char*> words) {
  Options options;
  for (std::size_t n = 0; n < words.size(); ++n) {
    const std::string_view word = words[n];
    if (word == "--once")
      options.once = true;
    else if (word == "--serve")
      options.serve = true;
    else if (word == "--json")
      options.form = Options::Form::json;
    else if (word == "--wire")
      options.form = Options::Form::wire;
    else if (word == "--help" || word == "-h")
      options.help = true;
    else if (word == "--within" && n + 1 < words.size()) {
      const auto within = parse_duration(words[++n]);
      if (!within) return std::nullopt;
      options.within = *within;
    } else
      return std::nullopt;
  }
  if (!options.help && options.once == options.serve) return std::nullopt;
  return options;
}

int complain(const Error& error) {
  std::fprintf(stderr, "gpuward-sentinel: %s\n", error.message().c_str());
  return 1;
}

GpuSnapshot look_once(sentinel::Looker& looker, std::chrono::milliseconds within) {
  const Instant deadline = os::now() + within;
  looker.ask();
  for (;;) {
    if (auto snapshot = looker.take()) return *std::move(snapshot);
    if (os::now() >= deadline) return looker.hung(within);
    pollfd ready{looker.ready_fd(), POLLIN, 0};
    ::poll(&ready, 1, os::poll_timeout(deadline));
  }
}

int once(sentinel::Looker& looker, const Options& options) {
  const GpuSnapshot snapshot = look_once(looker, options.within);
  if (options.form == Options::Form::wire) {
    const auto frame = sentinel::frame_of(snapshot);
    if (!frame) return complain(frame.error());
    const os::Fd out = os::Fd::take(STDOUT_FILENO);
    if (const auto done = os::write_all(out, *frame, "stdout"); !done)
      return complain(done.error());
  } else {
    const auto text = options.form == Options::Form::json ? sentinel::json_of(snapshot)
                                                          : sentinel::table_of(snapshot);
    std::fputs(text.c_str(), stdout);
  }
  return snapshot.sight == GpuSight::visible ? 0 : kNotVisible;
}

int run(std::span<char*> words) {
  const auto options = parse(words);
  if (!options) {
    std::fputs(kHelp, stderr);
    return kUsage;
  }
  if (options->help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  // Before the looker: its eventfd must not become descriptor 3.
  const os::Fd peer = options->serve ? os::Fd::take(kPeerDescriptor) : os::Fd();
  if (peer) {
    if (const auto done = peer.set_cloexec(true); !done) {
      complain(done.error());
      return kUsage;
    }
  }
  auto looker = sentinel::Looker::start();
  if (!looker) return complain(looker.error());
  if (options->once) return once(**looker, *options);
  const auto served = sentinel::serve(**looker, peer);
  return served ? 0 : complain(served.error());
}

}  // namespace

int main(int argc, char** argv) {
  const int code = run(std::span(argv + 1, argv + argc));
  std::fflush(stdout);
  ::_exit(code);  // a thread may be stuck in the driver: no destructors, no unloading
}
