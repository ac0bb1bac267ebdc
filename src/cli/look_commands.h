#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "control/home.h"
#include "domain/report.h"

// The commands that only look: status, logs, check.

namespace gpuward::cli {

struct StatusOptions {
  std::vector<std::string> services;
  bool json = false;
  bool watch = false;  ///< look again each second, until Ctrl-C; a terminal is redrawn
};
/// Asks the warden, or the anchors where none runs ("warden: none"). 1 for an unknown service; 0
/// when a watch ends by Ctrl-C, TERM or because nobody reads it.
int status(const StatusOptions& options);

/// What every service does, or the named ones: asked of the warden, or of the anchors where none
/// runs. Errors: a warden that does not answer in time, a run folder that cannot be read.
/// @p brief: processes are counted, not listed.
Result<StatusReport> look(const control::Home& home, const std::vector<std::string>& services,
                          bool brief = false);

struct LogsOptions {
  std::string service;
  bool follow = false;
  std::size_t lines = 50;
};
int logs(const LogsOptions& options);

/// Parses and checks @p files, or etc/*.toml; prints every problem. 1 when there is any.
int check(const std::vector<std::string>& files);

}  // namespace gpuward::cli
