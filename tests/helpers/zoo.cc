// zoo ANIMAL REGISTER: a small hostile process tree, for the tests of how trees are ended. Each of
// its processes holds a lock on a byte of REGISTER, which the kernel releases when the last thread
// of that process has gone: the test counts locks and believes no name, parent or number. Every
// animal is bounded: in forks by kMostForks, in time by kLifetime.

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

namespace {

constexpr int kMostForks = 4'000;
constexpr time_t kLifetime = 100;  // seconds
constexpr int kMostLocks = 64;

const char* register_path = nullptr;
const char* own_program = nullptr;

// A lock of the open file, as fcntl(2) calls it: whoever has the file open holds it.
int take_lock(int flags) {
  const int fd = ::open(register_path, O_RDWR | flags);
  if (fd < 0) ::_exit(90);
  for (int byte = 0; byte < kMostLocks; ++byte) {
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = byte;
    lock.l_len = 1;
    if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return fd;
  }
  ::_exit(91);
}

// Held by this process's memory: no descriptor that can be closed, none that a child inherits.
void sign_in() {
  const int fd = take_lock(O_CLOEXEC);
  void* page = ::mmap(nullptr, 1, PROT_READ, MAP_SHARED, fd, 0);
  if (page == MAP_FAILED || ::madvise(page, 1, MADV_DONTFORK) < 0) ::_exit(92);
  ::close(fd);
}

time_t seconds() {
  timespec at{};
  ::clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec;
}

[[noreturn]] void live() {
  const time_t end = seconds() + kLifetime;
  while (seconds() < end) {
    const timespec pause{1, 0};
    ::nanosleep(&pause, nullptr);
  }
  ::_exit(0);
}

void be_deaf() {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) std::signal(number, SIG_IGN);
}

pid_t fork_or_end() {
  const pid_t child = ::fork();
  if (child < 0) ::_exit(93);
  return child;
}

template <class Life>
pid_t child(Life&& life) {
  const pid_t pid = fork_or_end();
  if (pid != 0) return pid;
  life();
  ::_exit(0);
}

// A child whose parent ends at once, in a session of its own.
template <class Life>
void daemon(Life&& life) {
  const pid_t middle = child([&] {
    ::setsid();
    child(life);
    ::_exit(0);
  });
  ::waitpid(middle, nullptr, 0);
}

[[noreturn]] void sign_in_and_live() {
  sign_in();
  live();
}

// "0::/a/b" and the like of /proc/self/cgroup: the path of @p tag's hierarchy.
std::string own_group(std::string_view tag) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);)
    if (const auto at = line.find(tag); at != std::string::npos)
      return line.substr(at + tag.size());
  return {};
}

std::string mount_of(std::string_view type, std::string_view option) {
  std::ifstream file("/proc/self/mounts");
  std::string what;
  std::string where;
  std::string kind;
  std::string options;
  for (std::string rest; file >> what >> where >> kind >> options && std::getline(file, rest);)
    if (kind == type && ("," + options + ",").find("," + std::string(option)) != std::string::npos)
      return where;
  return {};
}

bool write_file(const std::string& path, std::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool done = ::write(fd, text.data(), text.size()) == std::ssize(text);
  ::close(fd);
  return done;
}

// Calls @p use(folder of our group) for the cgroup2 and the v1 freezer hierarchy.
template <class Use>
void for_each_group(Use&& use) {
  const std::string v2 = mount_of("cgroup2", "");
  if (!v2.empty()) use(v2 + own_group("0::"));
  const std::string freezer = mount_of("cgroup", "freezer");
  if (!freezer.empty()) use(freezer + own_group(":freezer:"));
}

void leave_group() {
  for_each_group([](const std::string& group) {
    write_file(group.substr(0, group.rfind('/')) + "/cgroup.procs", "0");
  });
}

bool is_service_group(const std::string& group) {
  return group.find("/gpuward.") != std::string::npos;
}

void leaver() {
  const auto go = [] {
    be_deaf();
    leave_group();
    sign_in_and_live();
  };
  child(go);
  daemon(go);
}

void nester() {
  const auto go = [](bool frozen) {
    be_deaf();
    sign_in();
    for_each_group([&](const std::string& group) {
      if (!is_service_group(group)) return;
      const std::string inner = group + (frozen ? "/ice" : "/inner");
      (void)::mkdir(inner.c_str(), 0755);
      if (!write_file(inner + "/cgroup.procs", "0") || !frozen) return;
      if (!write_file(inner + "/cgroup.freeze", "1"))
        write_file(inner + "/freezer.state", "FROZEN");
    });
    live();
  };
  child([&] { go(false); });
  child([&] { go(true); });
}

void become_leaderless() {
  sign_in();
  be_deaf();
  std::thread([] { live(); }).detach();
  ::syscall(SYS_exit, 0);  // of this thread alone
}

void leaderless() {
  child(become_leaderless);
}

void tracer() {
  be_deaf();
  child([] {
    sign_in();
    const pid_t held = child([] {
      sign_in();
      ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      ::raise(SIGSTOP);
      live();
    });
    ::waitpid(held, nullptr, 0);
    // Even its end stops until somebody lets it go on; nobody will.
    ::ptrace(PTRACE_SETOPTIONS, held, nullptr, PTRACE_O_TRACEEXIT);
    live();
  });
}

void subreaper() {
  be_deaf();
  child([] {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    sign_in();
    daemon([] {
      ::prctl(PR_SET_CHILD_SUBREAPER, 1);
      sign_in();
      daemon(sign_in_and_live);
      live();
    });
    live();
  });
}

// An own PID namespace, with a user namespace where that takes no right.
void namespaces() {
  be_deaf();
  child([] {
    if (::unshare(CLONE_NEWPID | CLONE_NEWNS) < 0) ::unshare(CLONE_NEWUSER | CLONE_NEWPID);
    sign_in();
    child([] {
      sign_in();
      daemon(sign_in_and_live);
      live();
    });
    live();
  });
}

// Waits for TERM, which is when its forks are hardest to meet.
void wait_for_term() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  const timespec most{kLifetime, 0};
  ::sigtimedwait(&set, nullptr, &most);
}

void run_away(bool sessions, bool groups) {
  if (groups) leave_group();
  const int held = take_lock(0);  // by every link of the chain
  wait_for_term();
  for (int forks = 0; forks < kMostForks; ++forks) {
    if (sessions) ::setsid();
    if (fork_or_end() != 0) ::_exit(0);
  }
  (void)held;
  live();
}

void forkchain() {
  be_deaf();
  child([] { run_away(false, false); });
  child([] { run_away(true, false); });
  child([] { run_away(true, true); });
}

// Each link starts the next by vfork and exec and ends.
void exec_link(int left, const char* held) {
  if (left > 0) {
    const std::string number = std::to_string(left - 1);
    const std::array<const char*, 6> words = {"zoo",          "link", register_path,
                                              number.c_str(), held,   nullptr};
    const pid_t next = ::vfork();
    if (next == 0) {
      ::execv(own_program, const_cast<char* const*>(words.data()));
      ::_exit(1);
    }
    ::_exit(0);
  }
  live();
}

void vforks() {
  be_deaf();
  child([] {
    std::array<char, 12> held{};
    std::snprintf(held.data(), held.size(), "%d", take_lock(0));
    wait_for_term();
    exec_link(2000, held.data());
  });
  child([] {
    sign_in();
    // The parent waits in the kernel until this child executes something: it never does.
    if (::vfork() == 0) {
      for (;;) ::pause();
    }
    live();
  });
}

void daemons() {
  for (int n = 0; n < 3; ++n)
    daemon([] {
      (void)!::chdir("/");
      for (int fd = 0; fd < 3; ++fd) ::close(fd);
      sign_in_and_live();
    });
}

void elastic() {
  be_deaf();
  const auto worker = [] {
    std::signal(SIGTERM, SIG_DFL);
    ::setsid();
    sign_in_and_live();
  };
  for (int n = 0; n < 4; ++n) child(worker);
  sign_in();
  for (int forks = 0; forks < 2000 && ::wait(nullptr) > 0; ++forks) child(worker);
  live();
}

// Two that watch each other; who outlives the other brings it back.
void watch_other(pid_t other, std::atomic<int>& left) {
  be_deaf();
  std::signal(SIGCHLD, SIG_IGN);
  sign_in();
  for (;;) {
    const int fd = static_cast<int>(::syscall(SYS_pidfd_open, other, 0));
    pollfd item{fd, POLLIN, 0};
    if (fd >= 0) ::poll(&item, 1, kLifetime * 1000);
    ::close(fd);
    if (left.fetch_sub(1) <= 0) live();
    const pid_t self = ::getpid();
    other = child([&] { watch_other(self, left); });
  }
}

void resurrectors() {
  void* page = ::mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* left = new (page) std::atomic<int>(2000);
  be_deaf();
  child([&] {
    const pid_t self = ::getpid();
    const pid_t other = child([&] { watch_other(self, *left); });
    watch_other(other, *left);
  });
}

void stop_again(int) {
  ::raise(SIGSTOP);
}

void stopped() {
  child([] {
    sign_in();
    ::raise(SIGSTOP);
    live();
  });
  child([] {
    be_deaf();
    std::signal(SIGCONT, stop_again);
    sign_in();
    ::raise(SIGSTOP);
    live();
  });
}

void deaf() {
  be_deaf();
  child(sign_in_and_live);
}

void walled() {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  for (int number = 1; number < NSIG; ++number) std::signal(number, SIG_IGN);
  std::signal(SIGCHLD, SIG_DFL);
  daemon(sign_in_and_live);
}

char* first_word = nullptr;
char* last_byte = nullptr;

// Looks like something else, has nothing open, and came from nowhere.
void masked() {
  daemon([] {
    be_deaf();
    sign_in();
    std::memset(first_word, 0, static_cast<std::size_t>(last_byte - first_word));
    std::strncpy(first_word, "kthreadd", static_cast<std::size_t>(last_byte - first_word));
    ::prctl(PR_SET_NAME, ") R 1 1 1 (x");
    ::syscall(SYS_close_range, 0, ~0U, 0);
    live();
  });
}

void scrubbed() {
  daemon([] {
    be_deaf();
    sign_in();
    for (char** at = environ; *at != nullptr; ++at) std::memset(*at, 0, std::strlen(*at));
    live();
  });
}

struct Animal {
  std::string_view name;
  void (*release)();
};

constexpr std::array kAnimals = {
    Animal{"leaver", leaver},         Animal{"nester", nester},
    Animal{"leaderless", leaderless}, Animal{"headless", [] { become_leaderless(); }},
    Animal{"tracer", tracer},         Animal{"subreaper", subreaper},
    Animal{"namespaces", namespaces}, Animal{"forkchain", forkchain},
    Animal{"vforks", vforks},         Animal{"daemons", daemons},
    Animal{"elastic", elastic},       Animal{"resurrectors", resurrectors},
    Animal{"stopped", stopped},       Animal{"deaf", deaf},
    Animal{"walled", walled},         Animal{"masked", masked},
    Animal{"scrubbed", scrubbed},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    for (const auto& animal : kAnimals) std::printf("%s\n", animal.name.data());
    return 2;
  }
  const std::string_view name = argv[1];
  register_path = ::strdup(argv[2]);
  static char path[4096];
  if (::readlink("/proc/self/exe", path, sizeof path - 1) < 0) return 94;
  own_program = path;
  first_word = argv[0];
  last_byte = argv[argc - 1] + std::strlen(argv[argc - 1]);
  if (name == "link" && argc == 5) exec_link(std::atoi(argv[3]), argv[4]);
  for (const auto& animal : kAnimals) {
    if (animal.name != name) continue;
    animal.release();
    // Main itself. With a gate it ends when the gate is opened, and leaves the others behind.
    sign_in();
    const char* gate = std::getenv("ZOO_GATE");
    if (gate != nullptr) {
      const int fd = ::open(gate, O_RDONLY);
      char byte = 0;
      while (::read(fd, &byte, 1) < 0 && errno == EINTR) {
      }
      ::_exit(3);
    }
    live();
  }
  return 2;
}
