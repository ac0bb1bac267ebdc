#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stop_token>
#include <string>

#include "xray/language.h"
#include "xray/options.h"
#include "xray/prepare.h"

namespace gpuward::xray {

/// One film to report on. The bytes stay the caller's.
struct Job {
  std::uint64_t number = 0;  ///< counts from 1 within one run of the service
  std::span<const std::byte> film;
  std::string nonce;
  Language language = Language::chinese;
  bool may_fault = true;  ///< false: no fault is drawn for it
};

/// What came of it, and where the time went (seconds; 0 for stages not reached).
struct JobResult {
  Outcome<std::string> report;  ///< JSON text, see film_json()
  double decode_seconds = 0, infer_seconds = 0, report_seconds = 0;
  std::uint64_t pixels = 0;
};

// The three stages, the same code inline and in children.
Outcome<Prepared> decode_stage(std::span<const std::byte> film, const Options& options,
                               const std::stop_token& cancel);
/// @p gpu null: only waits as long as the kernels would take.
/// @param keep  receives the request's memory when its fault is to keep it; may be null.
Outcome<void> infer_stage(std::uint64_t pixels, const Options& options, Gpu* gpu,
                          const std::stop_token& cancel, DeviceMemory* keep = nullptr);
std::string report_stage(const Prepared& prepared, const std::string& nonce, Language language,
                         const Options& options, const std::stop_token& cancel);

/// Does @p fault strike this job?
inline bool struck(const Options& options, Fault fault, const Job& job) {
  return job.may_fault && options.faults.drawn(fault, job.number);
}

/// Burns CPU and never ends: the hang fault.
[[noreturn]] void hang();

/// Ends the process as a wild pointer does: the crash fault.
void crash();

/// Writes one line to stderr, whole, with the time before it.
void log_line(const std::string& line);

/// All three stages in the calling thread.
JobResult run_inline(const Job& job, const Options& options, Gpu* gpu,
                     const std::stop_token& cancel);

}  // namespace gpuward::xray
