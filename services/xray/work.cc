#include "xray/work.h"

#include <time.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <mutex>

#include "xray/measure.h"
#include "xray/report.h"

namespace gpuward::xray {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Waits for @p time unless asked to stop before.
void idle(std::chrono::nanoseconds time, const std::stop_token& cancel) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  changed.wait_for(lock, cancel, time, [] { return false; });
}

}  // namespace

Outcome<Prepared> decode_stage(std::span<const std::byte> film, const Options& options,
                               const std::stop_token& cancel) {
  auto decoded = decode(film, options.max_pixels, cancel);
  if (!decoded) return std::unexpected(std::move(decoded).error());
  auto prepared = prepare(*decoded);
  burn(prepared, options.pre_cpu, cancel);
  if (cancel.stop_requested()) return cancelled();
  return prepared;
}

Outcome<void> infer_stage(std::uint64_t pixels, const Options& options, Gpu* gpu,
                          const std::stop_token& cancel, DeviceMemory* keep) {
  if (gpu == nullptr) {
    idle(options.tokens.kernels * options.tokens.kernel_time, cancel);
    if (cancel.stop_requested()) return cancelled();
    return {};
  }
  DeviceMemory memory;
  if (const auto bytes = options.request_memory(pixels); bytes.count > 0) {
    auto taken = gpu->allocate(bytes);
    if (!taken) return std::unexpected(std::move(taken).error());
    memory = std::move(*taken);
  }
  // Below 64 KiB the kernels' results would not fit; they are only there to keep the work honest.
  const bool room = options.request_memory(pixels) >= 64_KiB;
  auto done = gpu->run(options.tokens, room ? memory.address() : 0, cancel);
  if (done && keep != nullptr) *keep = std::move(memory);
  return done;
}

std::string report_stage(const Prepared& prepared, const std::string& nonce, Language language,
                         const Options& options, const std::stop_token& cancel) {
  const Measures measures = measure(prepared);
  burn(prepared, options.post_cpu, cancel);
  return film_json(prepared, measures, language, nonce);
}

void hang() {
  volatile std::uint64_t turns = 0;
  while (true) turns = turns + 1;
}

void crash() {
  std::signal(SIGSEGV, SIG_DFL);  // a sanitizer would catch it and exit
  std::raise(SIGSEGV);
}

void log_line(const std::string& line) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  ::gmtime_r(&now.tv_sec, &utc);
  std::array<char, 40> stamp{};
  const auto length = std::strftime(stamp.data(), stamp.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(stamp.data() + length, stamp.size() - length, ".%03ldZ ", now.tv_nsec / 1'000'000);
  const std::string whole = stamp.data() + line + "\n";
  // One write, so that lines of threads and children do not mix. A full disk must not end the
  // service.
  static_cast<void>(!::write(STDERR_FILENO, whole.data(), whole.size()));
}

JobResult run_inline(const Job& job, const Options& options, Gpu* gpu,
                     const std::stop_token& cancel) {
  JobResult result;
  auto start = Clock::now();
  auto prepared = decode_stage(job.film, options, cancel);
  result.decode_seconds = seconds_since(start);
  if (!prepared) {
    result.report = std::unexpected(std::move(prepared).error());
    return result;
  }
  result.pixels = prepared->header.pixels();
  if (struck(options, Fault::crash, job)) crash();
  if (struck(options, Fault::hang, job)) hang();
  start = Clock::now();
  DeviceMemory kept;
  const bool leak = struck(options, Fault::leak, job);
  auto inferred = infer_stage(result.pixels, options, gpu, cancel, leak ? &kept : nullptr);
  kept.leak();
  result.infer_seconds = seconds_since(start);
  if (!inferred) {
    result.report = std::unexpected(std::move(inferred).error());
    return result;
  }
  start = Clock::now();
  result.report = report_stage(*prepared, job.nonce, job.language, options, cancel);
  result.report_seconds = seconds_since(start);
  return result;
}

}  // namespace gpuward::xray
