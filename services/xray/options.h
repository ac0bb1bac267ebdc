#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <variant>

#include "base/units.h"
#include "xray/faults.h"
#include "xray/gpu.h"

namespace gpuward::xray {

enum class Workers { in_process, processes };
enum class Stage { none, decode, infer, report };
std::string_view name_of(Stage stage);

/// What the command line says; docs/xray.md explains each option.
struct Options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 7860;  ///< 0: any free one
  Workers workers = Workers::in_process;
  unsigned concurrency = 1;  ///< jobs at a time
  unsigned queue = 64;       ///< requests that may wait; more are refused with 503
  Bytes max_upload = 64_MiB;
  std::uint64_t max_pixels = 64'000'000;
  std::chrono::nanoseconds pre_cpu{0};   ///< extra CPU time of the decode stage
  std::chrono::nanoseconds post_cpu{0};  ///< extra CPU time of the report stage
  std::chrono::nanoseconds load_time{0};
  std::chrono::nanoseconds job_timeout{0};  ///< 0: none
  bool no_gpu = false;
  cuda::Wait wait = cuda::Wait::automatic;
  Bytes model_memory = 1_GiB;
  Bytes request_memory_per_megapixel = 64_MiB;
  TokenRun tokens;
  FaultPlan faults;
  std::uint64_t seed = 1;
  std::string fault_text;
  bool fault_on_request = false;  ///< faults are drawn only for requests that ask for it
  Bytes linger_memory{};          ///< device memory a lingering child holds; 0: the request's
  bool ghost_hangs = false;       ///< a ghost answers nothing instead of 500

  /// Set in a child of --workers process only.
  Stage stage = Stage::none;
  std::uint64_t job = 0;
  std::uint64_t pixels = 0;
  std::string act;  ///< what a drawn fault makes the child do: "hang", "linger", "crash"
  bool stubborn = false;

  /// Device memory for a film of @p film_pixels.
  Bytes request_memory(std::uint64_t film_pixels) const;
};

/// The options, or the exit code of a program that has said why (0 for --help).
std::variant<Options, int> parse_options(int argc, char** argv);

/// "1.13ms", "250us", "2s", "1ns": finer than base's parse_duration, for kernels. Nullopt if
/// malformed.
std::optional<std::chrono::nanoseconds> parse_fine_duration(std::string_view text);

}  // namespace gpuward::xray
