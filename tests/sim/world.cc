#include "world.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

namespace gpuward::gpusim::test {
namespace {

[[noreturn]] void become(const std::string& program, const std::vector<std::string>& arguments,
                         const std::string& state) {
  ::setenv("GPUSIM_STATE", state.c_str(), 1);
  ::setenv("LD_LIBRARY_PATH", (binary("sim")).c_str(), 1);
  std::vector<char*> words = {const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments)
    words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  ::execv(program.c_str(), words.data());
  ::_exit(127);
}

}  // namespace

std::string binary(const std::string& name) {
  return GPUWARD_BINARY_DIR "/bin/" + name;
}

Child::Child(const std::string& program, const std::vector<std::string>& arguments,
             const std::string& state, bool new_pid_namespace) {
  auto in = os::make_pipe().value();
  auto out = os::make_pipe().value();
  auto pid_back = os::make_pipe().value();
  const std::string path = program.front() == '/' ? program : binary(program);
  ::signal(SIGPIPE, SIG_IGN);  // writing to a dead child is an error, not our end
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGPIPE, SIG_DFL);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(in.read.get(), STDIN_FILENO);
    ::dup2(out.write.get(), STDOUT_FILENO);
    if (!new_pid_namespace) become(path, arguments, state);
    if (::unshare(CLONE_NEWPID) != 0) ::_exit(126);
    const pid_t first = ::fork();
    if (first == 0) become(path, arguments, state);
    if (::write(pid_back.write.get(), &first, sizeof first) != sizeof first) ::_exit(125);
    ::close(STDIN_FILENO);
    ::close(STDOUT_FILENO);
    in = {};
    out = {};
    int status = 0;
    ::waitpid(first, &status, 0);
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
  pid_ = child;
  if (new_pid_namespace) {
    helper_ = child;
    pid_back.write.close();
    if (::read(pid_back.read.get(), &pid_, sizeof pid_) != sizeof pid_) pid_ = -1;
  }
  input_ = std::move(in.write);
  output_ = std::move(out.read);
}

Child::~Child() {
  if (pid_ <= 0) return;
  signal(SIGKILL);
  wait();
}

void Child::tell(const std::string& line) {
  const auto told = os::write_all(input_, line + "\n", "a child's input");
  if (!told) std::fprintf(stderr, "%s\n", told.error().message().c_str());
}

std::string Child::line(milliseconds within) {
  const auto deadline = std::chrono::steady_clock::now() + within;
  for (;;) {
    if (const auto end = pending_.find('\n'); end != std::string::npos) {
      const std::string found = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return found;
    }
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd output = {output_.get(), POLLIN, 0};
    if (left.count() <= 0 || ::poll(&output, 1, static_cast<int>(left.count())) <= 0) return {};
    char text[4096];
    const ssize_t got = ::read(output_.get(), text, sizeof text);
    if (got <= 0) return {};
    pending_.append(text, static_cast<std::size_t>(got));
  }
}

void Child::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

void Child::stop() const {
  signal(SIGSTOP);
  siginfo_t info;
  ::waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WNOWAIT);
}

int Child::wait() {
  const pid_t ours = helper_ > 0 ? helper_ : pid_;
  if (ours <= 0) return -1;
  int status = 0;
  ::waitpid(ours, &status, 0);
  pid_ = helper_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

World::World(const std::vector<std::string>& options) {
  char pattern[] = "/dev/shm/gpusim-test-XXXXXX";
  folder_ = ::mkdtemp(pattern);
  state_ = folder_ + "/state";
  std::vector<std::string> arguments = {"create"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  if (gpusim(arguments) != 0) ::abort();
}

World::~World() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::unique_ptr<Child> World::client(const std::vector<std::string>& arguments,
                                     bool pid_namespace) {
  return std::make_unique<Child>(GPUWARD_BINARY_DIR "/tests/helpers/sim_client", arguments, state_,
                                 pid_namespace);
}

std::unique_ptr<Child> World::reader(const std::vector<std::string>& arguments) {
  return std::make_unique<Child>(GPUWARD_BINARY_DIR "/tests/helpers/sim_reader", arguments, state_);
}

int World::gpusim(const std::vector<std::string>& arguments) {
  Child tool("gpusim", arguments, state_);
  tool.close_input();
  output_.clear();
  for (std::string line = tool.line(); !line.empty(); line = tool.line()) output_ += line + "\n";
  return tool.wait();
}

std::string World::show() {
  return gpusim({"show", "--json"}) == 0 ? output_ : std::string();
}

std::uint64_t World::shown(const std::string& key) {
  const std::string text = show();
  const std::string quoted = '"' + key + "\": ";
  const auto at = text.find(quoted);
  return at == std::string::npos ? 0
                                 : std::strtoull(text.c_str() + at + quoted.size(), nullptr, 10);
}

bool World::wait_shown(const std::string& key, std::uint64_t value, milliseconds within) {
  const auto deadline = std::chrono::steady_clock::now() + within;
  while (shown(key) != value) {
    if (std::chrono::steady_clock::now() > deadline) return false;
  }
  return true;
}

bool can_unshare() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(::unshare(CLONE_NEWPID) == 0 ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0;
}

std::uint64_t number_after(const std::string& line, const std::string& key) {
  const auto at = line.find(key + ' ');
  return at == std::string::npos ? 0 : std::strtoull(line.c_str() + at + key.size(), nullptr, 10);
}

}  // namespace gpuward::gpusim::test
