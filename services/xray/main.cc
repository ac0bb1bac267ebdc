#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "xray/server.h"
#include "xray/stage_child.h"

namespace gpuward::xray {
namespace {

// Exit codes: 0 stopped, 1 could not start or serve, 2 usage.
int fail_to_start(const std::string& reason) {
  log_line("gpuward-xray cannot start: " + reason);
  return 1;
}

int run(const Options& options) {
  std::unique_ptr<Gpu> gpu;
  if (!options.no_gpu) {
    auto opened = Gpu::open(options.wait);
    if (!opened) return fail_to_start(opened.error().reason + " (--no-gpu works without one)");
    gpu = std::move(*opened);
  }
  // The process ends by _Exit: a hung job's thread never ends, and the driver's and the kernel's
  // own clean-up of a process that ends is complete.
  auto* service = new Service(options, std::move(gpu));
  if (auto loaded = service->load(); !loaded) {
    const auto& problem = loaded.error();
    return fail_to_start(problem.code == "out_of_memory" ? out_of_memory_line(problem)
                                                         : problem.reason);
  }
  if (options.load_time.count() > 0) std::this_thread::sleep_for(options.load_time);
  const auto served = serve(options, *service);
  const int code = served ? 0 : fail_to_start(served.error().message());
  service->stop(std::chrono::seconds(2));
  std::_Exit(code);
}

}  // namespace
}  // namespace gpuward::xray

int main(int argc, char** argv) {
  using namespace gpuward::xray;
  const rlimit no_core{0, 0};  // films must not end up in core files
  ::setrlimit(RLIMIT_CORE, &no_core);
  std::signal(SIGPIPE, SIG_IGN);
  const auto options = parse_options(argc, argv);
  if (const int* code = std::get_if<int>(&options)) return *code;
  const auto& valid = std::get<Options>(options);
  return valid.stage == Stage::none ? run(valid) : run_stage_child(valid);
}
