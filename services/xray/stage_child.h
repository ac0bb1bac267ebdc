#pragma once

#include "xray/options.h"

namespace gpuward::xray {

// A stage's child finds these descriptors open: its input, the place for its answer, and a pipe
// into which it writes one byte when the answer is complete.
inline constexpr int kInputFd = 3;
inline constexpr int kOutputFd = 4;
inline constexpr int kDoneFd = 5;

/// The whole life of a child started with --stage; returns its exit code.
int run_stage_child(const Options& options);

}  // namespace gpuward::xray
