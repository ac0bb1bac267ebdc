#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gpuward {

/// How a check of `gpuward doctor` came out, from the best to the worst.
enum class Grade : std::uint8_t {
  ok = 0,
  unseen = 1,  ///< cannot be seen from here, or is not on this machine: an answer, and no blame
  warn = 2,
  fail = 3,
};
/// "OK", "UNSEEN", "WARN", "FAIL": a contract of the JSON output.
std::string_view to_string(Grade grade);

/// One line of `gpuward doctor`. It only ever advises: `mend` is for the reader to do (harm.md 16).
struct Finding {
  std::string check;  ///< "kernel": a contract of the JSON output
  Grade grade = Grade::ok;
  std::string found;
  std::string cost;  ///< what it costs the reader; empty where there is nothing to say
  std::string mend;  ///< one command or one sentence; empty likewise
};

/// The worst of them; ok for none.
Grade worst_of(const std::vector<Finding>& findings);
/// Of `gpuward doctor`: 0 OK or not to be seen, 1 WARN, 2 FAIL.
int exit_code_of(Grade grade);

}  // namespace gpuward
