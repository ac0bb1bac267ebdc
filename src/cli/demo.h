#pragma once

#include "cli/demo_stage.h"

namespace gpuward::cli {

/// The article's incident, staged, on the real card or a simulated one: leftovers, their receipt,
/// the utilisation before and after, every film, stop with proof, and what the article's scripts
/// leave. 0 only if all of it held; 1 if something did not, or could not be tried. Leaves nothing
/// running, Ctrl-C included.
int demo(const DemoOptions& options);

}  // namespace gpuward::cli
