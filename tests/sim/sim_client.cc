// A small program of the driver API, for the tests to start, freeze and kill. It finds libcuda.so.1
// as any program does, by its name. usage: sim_client MODE [ARGUMENT...]
//
// Every mode prints "ready" when its context exists, and ends when its standard input does.
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

template <class Function>
Function* need(const char* name) {
  static void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  void* found = library == nullptr ? nullptr : ::dlsym(library, name);
  if (found == nullptr) {
    std::fprintf(stderr, "sim_client: no %s: %s\n", name, ::dlerror());
    std::exit(3);
  }
  return reinterpret_cast<Function*>(found);
}

struct Driver {
  int (*init)(unsigned) = need<int(unsigned)>("cuInit");
  int (*retain)(void**, int) = need<int(void**, int)>("cuDevicePrimaryCtxRetain");
  int (*set_flags)(int, unsigned) = need<int(int, unsigned)>("cuDevicePrimaryCtxSetFlags_v2");
  int (*set_current)(void*) = need<int(void*)>("cuCtxSetCurrent");
  int (*synchronize)() = need<int()>("cuCtxSynchronize");
  int (*alloc)(std::uint64_t*,
               std::size_t) = need<int(std::uint64_t*, std::size_t)>("cuMemAlloc_v2");
  int (*copy_in)(std::uint64_t, const void*, std::size_t) =
      need<int(std::uint64_t, const void*, std::size_t)>("cuMemcpyHtoD_v2");
  int (*copy_out)(void*, std::uint64_t,
                  std::size_t) = need<int(void*, std::uint64_t, std::size_t)>("cuMemcpyDtoH_v2");
  int (*free)(std::uint64_t) = need<int(std::uint64_t)>("cuMemFree_v2");
  int (*load)(void**, const void*) = need<int(void**, const void*)>("cuModuleLoadData");
  int (*function)(void**, void*,
                  const char*) = need<int(void**, void*, const char*)>("cuModuleGetFunction");
  int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                void**,
                void**) = need<int(void*, unsigned, unsigned, unsigned, unsigned, unsigned,
                                   unsigned, unsigned, void*, void**, void**)>("cuLaunchKernel");
};
Driver* driver = nullptr;
void* kernel = nullptr;

std::uint64_t now_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

void must(int code, const char* what) {
  if (code == 0) return;
  std::printf("error %s %d\n", what, code);
  std::fflush(stdout);
  std::exit(4);
}

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

int launch(std::uint64_t ns) {
  void* parameters[] = {&ns};
  return driver->launch(kernel, 1, 1, 1, 1, 1, 1, 0, nullptr, parameters, nullptr);
}

void start(unsigned flags = 0) {
  static Driver loaded;
  driver = &loaded;
  must(driver->init(0), "cuInit");
  must(driver->set_flags(0, flags), "cuDevicePrimaryCtxSetFlags");
  void* context = nullptr;
  must(driver->retain(&context, 0), "cuDevicePrimaryCtxRetain");
  must(driver->set_current(context), "cuCtxSetCurrent");
  void* module = nullptr;
  must(
      driver->load(&module, "// gpusim: work ns=param0\n.visible .entry work(.param .u64 ns) {}\n"),
      "cuModuleLoadData");
  must(driver->function(&kernel, module, "work"), "cuModuleGetFunction");
}

bool input_ended() {
  pollfd input = {STDIN_FILENO, POLLIN | POLLHUP, 0};
  return ::poll(&input, 1, 0) > 0;
}

/// The next word of standard input; exits when there is none.
std::string next_word() {
  std::string word;
  char c = 0;
  while (::read(STDIN_FILENO, &c, 1) == 1) {
    if (c == '\n') return word;
    word += c;
  }
  std::exit(0);
}

/// Time that this thread was ready to run but had no CPU, ns. Not the simulation's doing.
std::uint64_t run_delay_ns() {
  static const int fd = ::open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
  char text[96] = {};
  unsigned long long ran = 0;
  unsigned long long waited = 0;
  if (fd < 0 || ::pread(fd, text, sizeof text - 1, 0) <= 0) return 0;
  std::sscanf(text, "%llu %llu", &ran, &waited);
  return waited;
}

struct Worst {
  std::uint64_t wall = 0;
  std::uint64_t held = 0;  ///< without the wait for a CPU

  template <class Operation>
  void time(Operation operation) {
    const std::uint64_t delay = run_delay_ns();
    const std::uint64_t begin = now_ns();
    operation();
    const std::uint64_t took = now_ns() - begin;
    const std::uint64_t starved = run_delay_ns() - delay;
    wall = std::max(wall, took);
    held = std::max(held, took - std::min(took, starved));
  }
};

/// Allocates, frees, launches and synchronises as fast as it can, and says at the end what it holds
/// and how long the longest single call took.
int churn(std::uint64_t seed) {
  start();
  say("ready");
  std::mt19937_64 random(seed);
  std::vector<std::uint64_t> held;
  std::vector<std::uint64_t> sizes;
  std::uint64_t sum = 0;
  std::uint64_t operations = 0;
  Worst worst;
  for (; !input_ended(); ++operations) {
    const std::uint64_t size = (random() % 64 + 1) << 12;
    std::uint64_t address = 0;
    worst.time([&] { must(driver->alloc(&address, size), "cuMemAlloc"); });
    held.push_back(address);
    sizes.push_back(size);
    sum += size;
    if (held.size() > 16) {
      const std::size_t at = random() % held.size();
      worst.time([&] { must(driver->free(held[at]), "cuMemFree"); });
      sum -= sizes[at];
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
      sizes.erase(sizes.begin() + static_cast<std::ptrdiff_t>(at));
    }
    worst.time([&] { must(launch(10'000), "cuLaunchKernel"); });
    if (operations % 4 == 0) worst.time([&] { must(driver->synchronize(), "cuCtxSynchronize"); });
  }
  must(driver->synchronize(), "cuCtxSynchronize");
  std::printf("holds %llu operations %llu held_ns %llu wall_ns %llu\n",
              static_cast<unsigned long long>(sum), static_cast<unsigned long long>(operations),
              static_cast<unsigned long long>(worst.held),
              static_cast<unsigned long long>(worst.wall));
  std::fflush(stdout);
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}

/// For each "go": COUNT kernels of NS each, all ahead ("ahead") or synchronised each ("each").
int work(std::uint64_t ns, unsigned count, bool each) {
  start();
  say("ready");
  for (;;) {
    next_word();
    const std::uint64_t begin = now_ns();
    for (unsigned i = 0; i < count; ++i) {
      must(launch(ns), "cuLaunchKernel");
      if (each) must(driver->synchronize(), "cuCtxSynchronize");
    }
    must(driver->synchronize(), "cuCtxSynchronize");
    say("took " + std::to_string(now_ns() - begin));
  }
}

std::uint64_t median(std::vector<std::uint64_t>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

int costs() {
  start();
  say("ready");
  for (;;) {
    next_word();
    std::vector<std::uint64_t> launches;
    for (int i = 0; i < 20'000; ++i) {
      const std::uint64_t begin = now_ns();
      must(launch(100), "cuLaunchKernel");
      launches.push_back(now_ns() - begin);
    }
    must(driver->synchronize(), "cuCtxSynchronize");
    constexpr std::uint64_t kKernel = 1'130'000;
    std::vector<std::uint64_t> waits;
    for (int i = 0; i < 200; ++i) {
      const std::uint64_t begin = now_ns();
      must(launch(kKernel), "cuLaunchKernel");
      must(driver->synchronize(), "cuCtxSynchronize");
      waits.push_back(now_ns() - begin - kKernel);
    }
    say("launch_ns " + std::to_string(median(launches)) + " sync_ns " +
        std::to_string(median(waits)));
  }
}

/// One of the checkpoint calls on another process.
int checkpoint_call(const std::string& verb, int pid) {
  const std::string name = "cuCheckpointProcess" + verb;
  if (verb == "GetState") {
    int state = -1;
    const int code = need<int(int, int*)>(name.c_str())(pid, &state);
    return code == 0 ? state : -code;
  }
  std::uint32_t arguments[16] = {};
  if (verb == "Lock") arguments[0] = 2000;  // ms
  return need<int(int, void*)>(name.c_str())(pid, arguments);
}

/// Holds BYTES. Then obeys: "alloc BYTES", "launch NS", "sync", "fork", "Lock PID" and the other
/// checkpoint calls: prints the code or the pid, and how long it took.
int hold(std::size_t bytes) {
  start();
  std::uint64_t address = 0;
  if (bytes > 0) must(driver->alloc(&address, bytes), "cuMemAlloc");
  say("ready");
  for (;;) {
    const std::string line = next_word();
    const std::string verb = line.substr(0, line.find(' '));
    const std::uint64_t number =
        line.size() > verb.size() ? std::strtoull(line.c_str() + verb.size(), nullptr, 10) : 0;
    int code = -1;
    const std::uint64_t begin = now_ns();
    if (std::strchr("LCRUG", verb[0]) != nullptr) {
      code = checkpoint_call(verb, static_cast<int>(number));
    }
    if (verb == "alloc") code = driver->alloc(&address, number);
    if (verb == "launch") code = launch(number);
    // So many bytes to the card, and half of them back.
    if (verb == "trip") {
      std::vector<char> data(number);
      code = driver->copy_in(address, data.data(), number);
      if (code == 0) code = driver->copy_out(data.data(), address, number / 2);
    }
    // So many bytes there and back: how many of them came back otherwise.
    if (verb == "differ") {
      const std::vector<char> sent(number, 'x');
      std::vector<char> back(number);
      code = driver->copy_in(address, sent.data(), number);
      if (code == 0) code = driver->copy_out(back.data(), address, number);
      if (code == 0)
        for (std::size_t n = 0; n < sent.size(); ++n) code += sent[n] != back[n] ? 1 : 0;
    }
    if (verb == "sync") code = driver->synchronize();
    if (verb == "fork") {
      const pid_t child = ::fork();
      if (child == 0) {
        // The child tells what it gets, and stays, holding the memory, until it is killed.
        say("child " + std::to_string(driver->alloc(&address, 4096)));
        for (;;) ::pause();
      }
      say("forked " + std::to_string(child));
      continue;
    }
    say("code " + std::to_string(code) + " took " + std::to_string(now_ns() - begin));
  }
}

/// COUNT processes, spread over GPUS cards, each of which holds BYTES and does nothing; they end
/// with this one. Says "ready" when all of them hold.
int crowd(std::uint64_t count, std::size_t bytes, std::uint64_t gpus) {
  int holding[2];
  if (::pipe2(holding, O_CLOEXEC) != 0) return 4;
  for (std::uint64_t n = 0; n < count; ++n) {
    if (::fork() != 0) continue;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setenv("CUDA_VISIBLE_DEVICES", std::to_string(n % gpus).c_str(), 1);
    start();
    std::uint64_t address = 0;
    must(driver->alloc(&address, bytes), "cuMemAlloc");
    const char held = 1;
    if (::write(holding[1], &held, 1) != 1) std::exit(4);
    for (;;) ::pause();
  }
  ::close(holding[1]);
  char held = 0;
  for (std::uint64_t n = 0; n < count;) {
    pollfd news = {holding[0], POLLIN, 0};
    if (::poll(&news, 1, 100) > 0 && ::read(holding[0], &held, 1) == 1) ++n;
    if (::waitpid(-1, nullptr, WNOHANG) > 0) return 4;  // one has failed, and said why
  }
  say("ready");
  while (!input_ended()) {
    pollfd input = {STDIN_FILENO, POLLIN | POLLHUP, 0};
    ::poll(&input, 1, -1);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const auto number = [&](int at) { return argc > at ? std::strtoull(argv[at], nullptr, 10) : 0; };
  if (mode == "churn") return churn(number(2));
  if (mode == "work") {
    return work(number(2), static_cast<unsigned>(number(3)),
                argc > 4 && !std::strcmp(argv[4], "each"));
  }
  if (mode == "costs") return costs();
  if (mode == "hold") return hold(number(2));
  if (mode == "crowd" && argc == 5 && number(4) > 0) return crowd(number(2), number(3), number(4));
  if (mode == "hog") {
    say("ready");
    while (!input_ended()) {
      const std::uint64_t until = now_ns() + 1'000'000;
      while (now_ns() < until) {
      }
    }
    return 0;
  }
  std::fprintf(stderr,
               "usage: sim_client churn SEED | work NS COUNT ahead|each | costs | hold BYTES | "
               "crowd COUNT BYTES GPUS | hog\n");
  return 2;
}
