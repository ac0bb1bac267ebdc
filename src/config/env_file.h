#pragma once

#include <string_view>
#include <vector>

#include "config/problem.h"
#include "domain/service.h"

namespace gpuward::config {

struct EnvFile {
  std::vector<EnvVar> variables;  ///< each name once; the later line won
  std::vector<Problem> problems;
};

/// Reads lines of NAME=VALUE. Empty lines and lines that begin with '#' are skipped, "export "
/// before a name is allowed. A value may stand in '...' (as it is) or "..." (\n \t \" \\ \$);
/// without quotes it ends at " #" and loses the blanks around it. Nothing is expanded, nothing is
/// executed.
EnvFile parse_env_file(std::string_view text, std::string_view file_name);

/// What is wrong with @p name as the name of a variable; empty when nothing is.
std::string_view env_name_fault(std::string_view name);

}  // namespace gpuward::config
