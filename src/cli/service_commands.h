#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "control/home.h"
#include "control/messages.h"
#include "domain/report.h"

// up, down, start, stop, restart: 0 done and proven, 1 refused or failed, 3 timed out, 4 not
// proven, 5 warden not reachable.

namespace gpuward::cli {

struct ServiceOptions {
  std::vector<std::string> services;
  std::optional<std::chrono::milliseconds> timeout;
  bool json = false;
  bool take_over = false;  ///< `start`: ends first what holds the port and is not ours
  bool yes = false;        ///< without asking
  bool anyway = false;     ///< `start`, `restart`: also onto a card that is out of use
  std::string left_of{};   ///< WardenRequest::left_of
};

struct UpOptions {
  std::vector<std::string> files;
  bool foreground = false;
};

/// Ends what is left of one service that is over, without a word on standard output, by the warden
/// or without one. Refused where it is not of @p tree (AnchorState::tree_variable) or the service
/// runs. What it lacks to be proven is told on standard error. @return the exit code of `stop`.
int stop_what_is_left(const control::Home& home, const std::string& service,
                      const std::string& tree, std::vector<NamedReceipt>* receipts);

int up(const UpOptions& options);
int down(const ServiceOptions& options);
int start(const ServiceOptions& options);
int stop(const ServiceOptions& options);
int restart(const ServiceOptions& options);

/// Gives an order to the warden, waits for the answer and, unless @p as_json, prints how it went
/// for each service, with receipts. None after a complaint; @p code is the exit code either way.
std::optional<WardenAnswer> order_and_wait(const WardenRequest& request, const char* doing,
                                           bool as_json, int* code);

}  // namespace gpuward::cli
