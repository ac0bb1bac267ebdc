// gpuward-sentinel: makes every call into the GPU driver, so that nobody else can hang in one. It
// may be killed and started again at any time.

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <string_view>

#include "base/units.h"
#include "gpu/self_test.h"
#include "os/clock.h"
#include "os/spawn.h"
#include "sentinel/driver_probe.h"
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
constexpr std::chrono::milliseconds kLookDeadline{6000};  // a call that wakes a card has 5
constexpr std::size_t kMostNamed = 256;

constexpr char kHelp[] =
    "gpuward-sentinel --once [--json|--wire] [--within TIME]\n"
    "  one look at the GPUs: a table, one line of JSON, or one SnapshotNews frame\n"
    "  --within  how long a look may take (default 6s); what is not read by then is not known\n"
    "gpuward-sentinel --serve\n"
    "  SnapshotNews frames on the connected socket that is descriptor 3: each second, and now for\n"
    "  every byte received; ends with the connection\n"
    "  --skip N[,N...]  makes no call about these cards; --only N none about any other\n"
    "gpuward-sentinel --probe\n"
    "  only asks whether the driver can be opened: exit 18 when it was changed underneath\n"
    "gpuward-sentinel --self-test\n"
    "  what this driver does where documents leave it open, one line a test and card: ok, differs\n"
    "  or unseen first; for gpuward doctor\n"
    "GPUWARD_NVML=PATH names another library than libnvidia-ml.so.1\n"
    "exit: 0 GPUs visible (or served until the end), 1 not visible (or failed), 2 usage\n";

struct Options {
  enum class Form { table, json, wire } form = Form::table;
  bool once = false;
  bool serve = false;
  bool probe = false;
  bool self_test = false;
  bool help = false;
  std::chrono::milliseconds within = kLookDeadline;
  gpu::NvmlOptions cards;
};

/// "0,3"; nullopt for anything else.
std::optional<std::vector<std::uint32_t>> parse_cards(std::string_view text) {
  std::vector<std::uint32_t> cards;
  for (;;) {
    std::uint32_t card = 0;
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, card);
    if (read.ec != std::errc{} || cards.size() == kMostNamed) return std::nullopt;
    cards.push_back(card);
    if (read.ptr == end) return cards;
    if (*read.ptr != ',') return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(read.ptr + 1 - text.data()));
  }
}

/// The words that take a value. False: it is none of them, or not one of theirs.
bool parse_valued(std::string_view word, std::string_view value, Options& options) {
  if (word == "--within") {
    const auto within = parse_duration(value);
    if (within) options.within = *within;
    return within.has_value();
  }
  if (word != "--skip" && word != "--only") return false;
  const auto cards = parse_cards(value);
  if (!cards) return false;
  if (word == "--skip") {
    options.cards.skip = *cards;
    return true;
  }
  options.cards.only = cards->front();
  return cards->size() == 1;
}

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
    else if (word == "--probe")
      options.probe = true;
    else if (word == "--self-test")
      options.self_test = true;
    else if (n + 1 < words.size() && parse_valued(word, words[n + 1], options))
      ++n;
    else
      return std::nullopt;
  }
  const int modes = options.once + options.serve + options.probe + options.self_test;
  if (!options.help && modes != 1) return std::nullopt;
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
    const Instant now = os::now();
    if (now >= looker.stuck_at()) return looker.hung(now);
    if (now >= deadline) return looker.unfinished();  // late as a whole, but nothing hangs
    pollfd ready{looker.ready_fd(), POLLIN, 0};
    ::poll(&ready, 1, os::poll_timeout(std::min(deadline, looker.check_at(now))));
  }
}

/// Ended now, a call that wakes a card would have to begin anew the next time. Whoever asked has
/// the answer already; this lasts no longer than such a call may.
void let_it_wake(const sentinel::Looker& looker) {
  if (!looker.is_waking()) return;
  const Instant stuck = looker.stuck_at();
  pollfd ready{looker.ready_fd(), POLLIN, 0};
  while (os::now() < stuck && ::poll(&ready, 1, os::poll_timeout(stuck)) < 0 && errno == EINTR) {
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
    std::fflush(stdout);
  }
  if (snapshot.sight == GpuSight::unknown) let_it_wake(looker);
  return snapshot.sight == GpuSight::visible ? 0 : kNotVisible;
}

int probe() {
  const auto sight = gpu::Nvml().try_driver().sight;
  if (sight == GpuSight::mismatch) return sentinel::kProbeMismatch;
  return sight == GpuSight::visible ? 0 : kNotVisible;
}

int self_test() {
  // Each line at once: the next call may hang.
  gpu::self_test({}, [](std::string_view line) {
    std::printf("%.*s\n", static_cast<int>(line.size()), line.data());
    std::fflush(stdout);
  });
  return 0;
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
  if (options->probe) return probe();
  if (options->self_test) return self_test();
  os::raise_file_limit();  // it holds every process that has a card
  auto looker = sentinel::Looker::start(options->cards);
  if (!looker) return complain(looker.error());
  if (options->once) return once(**looker, *options);
  const auto served = sentinel::serve(**looker, options->cards, peer);
  return served ? 0 : complain(served.error());
}

}  // namespace

int main(int argc, char** argv) {
  const int code = run(std::span(argv + 1, argv + argc));
  std::fflush(stdout);
  ::_exit(code);  // a thread may be stuck in the driver: no destructors, no unloading
}
