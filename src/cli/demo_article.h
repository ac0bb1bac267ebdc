#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "cli/demo_stage.h"
#include "cli/film_clients.h"

namespace gpuward::cli {

/// What was still there after the article's stop script had said that it stopped.
struct ArticleLeft {
  std::size_t processes = 0;
  Bytes gpu_memory;
  std::uint16_t port = 0;  ///< the service's
};

/// Runs the stage's service under the article's start script, uploads films that misbehave, runs
/// its stop script, and counts. All inside the tree `article` of the stage's home, which still
/// runs then: stop it. No warden may run. Errors: the scripts failed, or said nothing in time.
Result<ArticleLeft> play_article(const DemoStage& stage, const std::vector<Film>& films);

}  // namespace gpuward::cli
