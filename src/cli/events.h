#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "control/anchors.h"
#include "control/home.h"

// The commands that read the ledger: events, audit.

namespace gpuward::cli {

struct EventsOptions {
  std::vector<std::string> services;  ///< empty: all, and gpuward itself
  std::optional<std::chrono::milliseconds> since;
  std::optional<std::size_t> lines;  ///< the newest; default: 50 without `since`
  bool follow = false;
  bool json = false;
};
/// What has happened, a line each. Without a warden it first takes over what anchors have noted.
/// 0, or 1 where the ledger cannot be read.
int events(const EventsOptions& options);
/// The same entries with everything in them: by whom, why, on what evidence, with what outcome.
int audit(const EventsOptions& options);

/// Walks over the whole chain. @p head: one that was noted elsewhere, 64 hexadecimal digits; empty
/// for none. 0: it holds; 1: it does not.
int audit_verify(const std::string& head, bool as_json);

/// Takes over into the ledger what the anchors of @p folders have noted. For when no warden does.
Result<void> import_journals(const control::Home& home,
                             const std::vector<control::AnchorFolder>& folders);

}  // namespace gpuward::cli
