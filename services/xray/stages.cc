#include "xray/stages.h"

#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <optional>
#include <string>
#include <utility>

#include "xray/bytes.h"
#include "xray/stage_child.h"
#include "xray/stage_data.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace gpuward::xray {
namespace {

using Clock = std::chrono::steady_clock;

std::unexpected<Problem> cannot(const char* what) {
  return refuse(500, "stage_failed", std::string("the service cannot ") + what);
}

// Bytes for or from a child, in memory only: films never touch a disk.
Outcome<os::Fd> make_memfd(std::span<const std::byte> content) {
  auto fd = os::Fd::take(::memfd_create("gpuward-xray", MFD_CLOEXEC));
  if (!fd) return cannot("make memory for a stage");
  if (!os::write_all(fd, content, "fill a memfd")) return cannot("fill memory for a stage");
  return fd;
}

Outcome<std::string> read_answer(const os::Fd& fd) {
  const auto size = ::lseek(fd.get(), 0, SEEK_END);
  if (size < 0) return cannot("read a stage's answer");
  std::string bytes(static_cast<std::size_t>(size), '\0');
  std::size_t at = 0;
  while (at < bytes.size()) {
    const auto got =
        ::pread(fd.get(), bytes.data() + at, bytes.size() - at, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return cannot("read a stage's answer");
    at += static_cast<std::size_t>(got);
  }
  return decode_answer(as_bytes(bytes));
}

struct Order {
  Stage stage;
  std::uint64_t job;
  std::uint64_t pixels;
  std::string act;
  bool stubborn;
};

std::vector<std::string> arguments(const Options& o, const Order& order) {
  auto ns = [](std::chrono::nanoseconds time) { return std::to_string(time.count()) + "ns"; };
  auto bytes = [](Bytes size) { return std::to_string(size.count) + "B"; };
  std::vector<std::string> all = {"gpuward-xray", "--stage", std::string(name_of(order.stage)),
                                  "--job", std::to_string(order.job)};
  auto add = [&](const char* name, std::string value) {
    all.emplace_back(name);
    all.push_back(std::move(value));
  };
  if (order.stage == Stage::decode) {
    add("--max-pixels", std::to_string(o.max_pixels));
    add("--pre-cpu", ns(o.pre_cpu));
  }
  if (order.stage == Stage::report) add("--post-cpu", ns(o.post_cpu));
  if (order.stage == Stage::infer) {
    static constexpr const char* kWaits[] = {"auto", "spin", "yield", "", "blocking"};
    add("--pixels", std::to_string(order.pixels));
    add("--kernels", std::to_string(o.tokens.kernels));
    add("--kernel-time", ns(o.tokens.kernel_time));
    add("--launch-ahead", std::to_string(o.tokens.launch_ahead));
    add("--request-memory-per-megapixel", bytes(o.request_memory_per_megapixel));
    add("--cuda-wait", kWaits[static_cast<unsigned>(o.wait)]);
    if (o.no_gpu) all.emplace_back("--no-gpu");
    if (!order.act.empty()) add("--act", order.act);
    if (order.act == "linger") add("--linger-memory", bytes(o.linger_memory));
  }
  if (order.stubborn) all.emplace_back("--stubborn");
  return all;
}

// Between fork and exec everything is glibc's: this process has threads. All descriptors but the
// three of the stage and the standard ones are closed, so no child keeps the port or a client open.
Outcome<Child> spawn(std::vector<std::string> words, const os::Fd& input, const os::Fd& output,
                     const os::Fd& done) {
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  // dup2 onto the same number would leave it close-on-exec, so the sources lie above the targets.
  constexpr int kAbove = kDoneFd + 1;
  const auto in = os::Fd::take(::fcntl(input.get(), F_DUPFD_CLOEXEC, kAbove));
  const auto out = os::Fd::take(::fcntl(output.get(), F_DUPFD_CLOEXEC, kAbove));
  const auto end = os::Fd::take(::fcntl(done.get(), F_DUPFD_CLOEXEC, kAbove));
  if (!in || !out || !end) return cannot("start a stage");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, in.get(), kInputFd);
  posix_spawn_file_actions_adddup2(&actions, out.get(), kOutputFd);
  posix_spawn_file_actions_adddup2(&actions, end.get(), kDoneFd);
  posix_spawn_file_actions_addclosefrom_np(&actions, kAbove);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  sigset_t defaults;
  sigemptyset(&defaults);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD, SIGPIPE}) sigaddset(&defaults, signal);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  Child child;
  const int error =
      ::posix_spawn(&child.pid, "/proc/self/exe", &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return cannot("start a stage");
  // Ours and not yet collected, so the number cannot mean another process.
  child.pidfd = os::Fd::take(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
  return child;
}

bool collect(const Child& child, int flags, siginfo_t& how) {
  how = {};
  const int result = child.pidfd
                         ? ::waitid(static_cast<idtype_t>(P_PIDFD),
                                    static_cast<id_t>(child.pidfd.get()), &how, WEXITED | flags)
                         : ::waitid(P_PID, static_cast<id_t>(child.pid), &how, WEXITED | flags);
  return result == 0 ? how.si_pid != 0 : errno == ECHILD;
}

// A child that has told its answer ends at once; a driver that will not let go of one must not hold
// up the answer, so it gets a second.
bool ended_soon(const Child& child) {
  siginfo_t how;
  pollfd event{child.pidfd.get(), POLLIN, 0};
  if (child.pidfd) static_cast<void>(::poll(&event, 1, 1000));
  return collect(child, child.pidfd ? WNOHANG : 0, how);
}

void end(const Child& child) {
  ::kill(child.pid, SIGKILL);  // not collected yet: still ours
  siginfo_t how;
  while (!collect(child, 0, how) && errno == EINTR) {
  }
}

enum class Woken { done, ended, cancelled, timed_out };

// Waits for the first of: the byte in the pipe, the child's end, the client's leaving, the
// deadline.
Woken wait_for(const Child& child, const os::Fd& done, const os::Fd& cancel_event,
               std::optional<Clock::time_point> deadline) {
  pollfd events[] = {
      {done.get(), POLLIN, 0}, {cancel_event.get(), POLLIN, 0}, {child.pidfd.get(), POLLIN, 0}};
  while (true) {
    int timeout = -1;
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now());
      timeout = static_cast<int>(std::clamp<long long>(left.count(), 0, 1'000'000'000));
    }
    const int ready = ::poll(events, 3, timeout);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return Woken::timed_out;
    char byte = 0;
    if (events[0].revents != 0)
      return ::read(done.get(), &byte, 1) == 1 ? Woken::done : Woken::ended;
    if (events[1].revents != 0) return Woken::cancelled;
    if (events[2].revents != 0) return Woken::ended;
  }
}

std::string how_it_ended(const siginfo_t& how) {
  if (how.si_code == CLD_EXITED) return "ended with code " + std::to_string(how.si_status);
  return "was ended by signal " + std::to_string(how.si_status);
}

class StageRun {
 public:
  StageRun(const Options& options, Leftovers& leftovers, std::stop_token cancel)
      : options_(options), leftovers_(leftovers), cancel_(std::move(cancel)) {
    if (options.job_timeout.count() > 0) deadline_ = Clock::now() + options.job_timeout;
  }

  Outcome<std::string> operator()(const Order& order, std::span<const std::byte> content) {
    auto input = make_memfd(content);
    auto output = make_memfd({});
    auto pipe = os::make_pipe();
    auto cancel_event = os::Fd::take(::eventfd(0, EFD_CLOEXEC));
    if (!input) return std::unexpected(std::move(input).error());
    if (!output) return std::unexpected(std::move(output).error());
    if (!pipe || !cancel_event) return cannot("talk to a stage");
    const std::stop_callback on_cancel(cancel_, [&] { ::eventfd_write(cancel_event.get(), 1); });
    auto child = spawn(arguments(options_, order), *input, *output, pipe->write);
    if (!child) return std::unexpected(std::move(child).error());
    pipe->write.close();
    const Woken woken = wait_for(*child, pipe->read, cancel_event, deadline_);
    return finish(order, std::move(*child), woken, *output);
  }

 private:
  // A child whose fault says so is never cleaned up after: it is only forgotten.
  Outcome<std::string> finish(const Order& order, Child child, Woken woken, const os::Fd& output) {
    const bool forget = order.act == "hang" || order.act == "linger";
    siginfo_t how;
    switch (woken) {
      case Woken::done:
        if (order.act == "linger" || !ended_soon(child)) leftovers_.add(std::move(child));
        return read_answer(output);
      case Woken::ended:
        collect(child, 0, how);
        return refuse(500, "stage_crashed",
                      "stage " + std::string(name_of(order.stage)) + " " + how_it_ended(how));
      case Woken::cancelled:
      case Woken::timed_out:
        if (forget)
          leftovers_.add(std::move(child));
        else
          end(child);
        break;
    }
    if (woken == Woken::cancelled) return cancelled();
    return refuse(504, "timed_out", "the film was not done in time");
  }

  const Options& options_;
  Leftovers& leftovers_;
  std::stop_token cancel_;
  std::optional<Clock::time_point> deadline_;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// At most one of the three; the worse one wins.
std::string drawn_act(const Options& options, const Job& job) {
  if (struck(options, Fault::crash, job)) return "crash";
  if (struck(options, Fault::hang, job)) return "hang";
  if (struck(options, Fault::linger, job)) return "linger";
  return {};
}

}  // namespace

void Leftovers::add(Child child) {
  const std::scoped_lock lock(mutex_);
  children_.push_back(std::move(child));
}

void Leftovers::collect() {
  const std::scoped_lock lock(mutex_);
  siginfo_t how;
  std::erase_if(children_, [&](const Child& child) { return xray::collect(child, WNOHANG, how); });
}

std::size_t Leftovers::count() const {
  const std::scoped_lock lock(mutex_);
  return children_.size();
}

JobResult run_in_children(const Job& job, const Options& options, Gpu* gpu, Leftovers& leftovers,
                          const std::stop_token& cancel) {
  JobResult result;
  StageRun stage(options, leftovers, cancel);
  const bool stubborn = struck(options, Fault::stubborn, job);
  auto start = Clock::now();
  auto decoded = stage({Stage::decode, job.number, 0, {}, stubborn}, job.film);
  result.decode_seconds = seconds_since(start);
  auto prepared = decoded ? decode_prepared(as_bytes(*decoded))
                          : Outcome<Prepared>(std::unexpected(std::move(decoded).error()));
  if (!prepared) {
    result.report = std::unexpected(std::move(prepared).error());
    return result;
  }
  result.pixels = prepared->header.pixels();
  start = Clock::now();
  auto inferred =
      stage({Stage::infer, job.number, result.pixels, drawn_act(options, job), stubborn}, {});
  result.infer_seconds = seconds_since(start);
  if (!inferred) {
    result.report = std::unexpected(std::move(inferred).error());
    return result;
  }
  if (gpu != nullptr && struck(options, Fault::leak, job))
    if (auto memory = gpu->allocate(options.request_memory(result.pixels))) memory->leak();
  start = Clock::now();
  result.report =
      stage({Stage::report, job.number, 0, {}, stubborn},
            as_bytes(encode(ReportOrder{std::move(*prepared), job.nonce, job.language})));
  result.report_seconds = seconds_since(start);
  return result;
}

}  // namespace gpuward::xray
