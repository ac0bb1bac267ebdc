#include "xray/stage_child.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <vector>

#include "os/fd.h"
#include "xray/bytes.h"
#include "xray/stage_data.h"
#include "xray/work.h"

namespace gpuward::xray {
namespace {

// The input as it lies in the memfd; unmapped when the process ends.
Outcome<std::span<const std::byte>> map_input() {
  struct stat status{};
  if (::fstat(kInputFd, &status) != 0) return refuse(500, "stage_failed", "a stage got no input");
  if (status.st_size == 0) return std::span<const std::byte>{};
  const auto size = static_cast<std::size_t>(status.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, kInputFd, 0);
  if (data == MAP_FAILED) return refuse(500, "stage_failed", "a stage cannot read its input");
  return std::span(static_cast<const std::byte*>(data), size);
}

// What an infer child holds until it ends.
struct Held {
  std::unique_ptr<Gpu> gpu;
  DeviceMemory request, linger;
};

// A lingering child holds linger_memory in all, or what the request took when that is more.
void take_linger_memory(const Options& options, Held& held) {
  const auto more = options.linger_memory - options.request_memory(options.pixels);
  if (held.gpu == nullptr || more.count == 0) return;
  auto taken = held.gpu->allocate(more);
  if (taken)
    held.linger = std::move(*taken);
  else
    log_line("job=" + std::to_string(options.job) + " linger: " + taken.error().reason);
}

Outcome<std::string> infer(const Options& options, Held& held) {
  if (!options.no_gpu) {
    auto gpu = Gpu::open(options.wait);
    if (!gpu) return std::unexpected(std::move(gpu).error());
    held.gpu = std::move(*gpu);
  }
  Options first = options;
  const bool stuck = options.act == "hang" || options.act == "crash";
  if (stuck) first.tokens.kernels = options.tokens.kernels / 3;  // it goes wrong on the way
  auto done = infer_stage(options.pixels, first, held.gpu.get(), {}, &held.request);
  if (!done) return std::unexpected(std::move(done).error());
  if (options.act == "crash") crash();
  if (options.act == "hang") hang();
  if (options.act == "linger") take_linger_memory(options, held);
  return std::string{};
}

Outcome<std::string> work(const Options& options, Held& held) {
  const auto input = map_input();
  if (!input) return std::unexpected(input.error());
  switch (options.stage) {
    case Stage::decode: {
      auto prepared = decode_stage(*input, options, {});
      if (!prepared) return std::unexpected(std::move(prepared).error());
      return encode(*prepared);
    }
    case Stage::infer:
      return infer(options, held);
    case Stage::report: {
      auto order = decode_order(*input);
      if (!order) return std::unexpected(std::move(order).error());
      return report_stage(order->prepared, order->nonce, order->language, options, {});
    }
    case Stage::none:
      break;
  }
  return refuse(500, "stage_failed", "no such stage");
}

}  // namespace

int run_stage_child(const Options& options) {
  if (options.stubborn) {
    std::signal(SIGTERM, SIG_IGN);
    ::setsid();
  }
  Held held;
  const auto answer = work(options, held);
  const auto output = os::Fd::take(kOutputFd);
  if (!os::write_all(output, encode_answer(answer), "write a stage's answer")) return 1;
  const auto done = os::Fd::take(kDoneFd);
  if (!os::write_all(done, std::string_view("."), "tell that a stage is done")) return 1;
  if (options.act == "linger" && answer)
    while (true) ::pause();
  return 0;
}

}  // namespace gpuward::xray
