#pragma once

#include <optional>
#include <string>
#include <vector>

#include "answer/known_answer.h"
#include "config/table_reader.h"
#include "domain/service.h"

namespace gpuward::config {

/// Reads from @p table, the `canary` of @p service, everything but where it goes into @p canary.
/// Relative paths begin in @p base.
void read_canary(TableReader& service, const Node& table, const std::string& base, Canary& canary);

struct CanaryFault {
  std::string key;  ///< "canary.body"
  std::string what;
  std::string expected;
};

/// What stands in the files of a canary, or why it is of no use.
struct CanaryFiles {
  std::string body;
  std::optional<answer::KnownAnswer> known;  ///< absent: none is configured, or it is of no use
  std::vector<CanaryFault> faults;           ///< without these there is nothing to be sent
  std::vector<CanaryFault> slips;            ///< what is probably a mistake, and stops nothing
};
/// Reads them whole. @p folder: where paths that are still relative begin.
CanaryFiles read_canary_files(const Canary& canary, const std::string& folder);

}  // namespace gpuward::config
