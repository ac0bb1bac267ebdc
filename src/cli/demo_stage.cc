#include "cli/demo_stage.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "control/gpu_look.h"
#include "os/clock.h"
#include "os/socket.h"
#include "os/spawn.h"

namespace gpuward::cli {
namespace {

// The first two CPUs that this process may use: the article pinned two, and two make the incident
// the same on every machine.
unsigned confine_to_two_cpus(unsigned* before) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) < 0) return *before = 0;
  *before = static_cast<unsigned>(CPU_COUNT(&allowed));
  cpu_set_t two;
  CPU_ZERO(&two);
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&two) < 2; ++cpu)
    if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &two);
  if (::sched_setaffinity(0, sizeof two, &two) < 0) return *before;
  return static_cast<unsigned>(CPU_COUNT(&two));
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

Result<void> need(const std::string& path, std::string_view what) {
  if (::access(path.c_str(), R_OK) == 0) return {};
  return fail(last_error("find " + std::string(what) + " of the demo", path));
}

}  // namespace

Result<int> run_sibling(const std::string& name, const std::vector<std::string>& args) {
  auto program = os::sibling_program(name);
  if (!program) return fail(std::move(program).error());
  os::ProgramPlan plan;
  plan.path = *program;
  plan.args = args;
  plan.err = STDERR_FILENO;
  auto process = os::start_program(plan);
  if (!process) return fail(std::move(process).error());
  int status = 0;
  while (::waitpid(process->pid().number, &status, 0) < 0)
    if (errno != EINTR) return fail(last_error("wait for", name));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Result<DemoStage> DemoStage::set_up(const DemoOptions& options) {
  DemoStage stage;
  auto xray = os::sibling_program("gpuward-xray");
  if (!xray) return fail(std::move(xray).error());
  stage.beside_ = xray->substr(0, xray->rfind('/'));
  GPUWARD_TRY(need(*xray, "the service"));
  GPUWARD_TRY(need(stage.films(), "the films"));
  GPUWARD_TRY(need(stage.article() + "/leave-behind.sh", "the article's scripts"));
  const char* tmp = std::getenv("TMPDIR");
  std::string folder =
      std::string(tmp != nullptr && *tmp == '/' ? tmp : "/tmp") + "/gpuward-demo-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return fail(last_error("make a folder", folder));
  stage.folder_ = folder;
  ::setenv("GPUWARD_HOME", (folder + "/home").c_str(), 1);
  ::setenv("TMPDIR", folder.c_str(), 1);
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  stage.cpus_ = confine_to_two_cpus(&stage.cpus_here_);
  auto ready = stage.prepare_card(options.simulated);
  if (ready) ready = stage.write_service();
  if (ready) return stage;
  stage.close();
  return fail(std::move(ready).error());
}

Result<void> DemoStage::prepare_card(bool simulate) {
  const auto real = control::look_at_gpus(os::now() + std::chrono::seconds(5));
  if (!simulate && real.sight == GpuSight::visible && !real.devices.empty()) return {};
  GPUWARD_TRY(need(beside_ + "/sim/libcuda.so.1", "the simulated driver"));
  simulated_ = true;
  ::setenv("LD_LIBRARY_PATH", (beside_ + "/sim").c_str(), 1);
  ::setenv("GPUSIM_STATE", (folder_ + "/cards").c_str(), 1);
  const auto made = run_sibling("gpusim", {"create", "--gpus", "1", "--memory", "40GiB"});
  if (!made) return fail(made.error());
  if (*made != 0) return fail(Errc::refused, "create a simulated card");
  return {};
}

std::vector<std::string> DemoStage::command(std::uint16_t port) const {
  // Seed 28 makes jobs 1, 5, 6 and 10 hang and jobs 2, 3 and 4 linger; see docs/xray.md. The CPU
  // time stands for the article's OpenCV and report stages, which cost more than its films' decode.
  return {beside_ + "/gpuward-xray",
          "--listen",
          "127.0.0.1:" + std::to_string(port),
          "--workers",
          "process",
          "--concurrency",
          "3",
          "--pre-cpu",
          "450ms",
          "--fault",
          "hang:0.3,linger:0.3,stubborn:1",
          "--seed",
          "28",
          "--fault-on-request",
          "--linger-memory",
          "1109MiB"};
}

Result<void> DemoStage::write_service() {
  auto port = os::free_loopback_port();
  if (!port) return fail(std::move(port).error());
  port_ = *port;
  std::string words;
  for (const auto& word : command(port_)) words += (words.empty() ? "" : ", ") + quoted(word);
  const std::string text = "[service.xray]\ncommand = [" + words +
                           "]\nready = { http = \"127.0.0.1:" + std::to_string(port_) +
                           "/health\", within = \"30s\" }\nstop = { grace = \"1s\" }\n";
  GPUWARD_TRY(os::make_directories(folder_ + "/home/etc", 0700));
  auto file = os::Fd::open(folder_ + "/home/etc/xray.toml", O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (!file) return fail(std::move(file).error());
  return os::write_all(*file, text, "write the demo's configuration");
}

bool DemoStage::close() {
  if (folder_.empty()) return true;
  const auto down = run_sibling("gpuward", {"down"});
  if (!down || *down != 0) {
    std::fprintf(
        stderr,
        "gpuward: the demo could not end all it started; see GPUWARD_HOME=%s/home gpuward status\n",
        folder_.c_str());
    return false;
  }
  if (simulated_) (void)run_sibling("gpusim", {"destroy"});
  std::error_code code;
  std::filesystem::remove_all(folder_, code);
  if (code)
    std::fprintf(stderr, "gpuward: remove '%s': %s\n", folder_.c_str(), code.message().c_str());
  folder_.clear();
  return !code;
}

}  // namespace gpuward::cli
