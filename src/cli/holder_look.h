#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/home.h"
#include "domain/gpu.h"
#include "domain/holder.h"
#include "domain/report.h"

namespace gpuward::cli {

/// Who holds the cards now.
struct HolderLook {
  bool watched = false;        ///< a warden told it: it knows since when each is idle
  bool warden_silent = false;  ///< one runs, but did not answer: what it knows is missing here
  GpuSnapshot gpu;
  std::vector<HolderReport> holders;
  std::vector<CardReport> cards;
  std::optional<KernelLogReport> kernel_log;   ///< absent without a warden
  std::vector<CardIncident> incidents;         ///< that the warden has read of there
  std::optional<std::vector<CardMark>> marks;  ///< likewise absent without a warden
};
/// Asks the warden; where there is none, it has not looked yet, or it does not answer, takes a look
/// of its own.
HolderLook look_at_holders(const control::Home& home);

/// "alice, in tmux, port 8888, idle for 2 h": where a stranger comes from, as far as it is seen.
std::string origin_text(const HolderReport& holder);

/// The owner's name, or number; empty where it could not be asked.
std::string user_of(const HolderReport& holder);

}  // namespace gpuward::cli
