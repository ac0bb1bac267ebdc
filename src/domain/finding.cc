#include "domain/finding.h"

#include <algorithm>

namespace gpuward {

std::string_view to_string(Grade grade) {
  switch (grade) {
    case Grade::ok:
      return "OK";
    case Grade::unseen:
      return "UNSEEN";
    case Grade::warn:
      return "WARN";
    case Grade::fail:
      break;
  }
  return "FAIL";
}

Grade worst_of(const std::vector<Finding>& findings) {
  Grade worst = Grade::ok;
  for (const auto& finding : findings) worst = std::max(worst, finding.grade);
  return worst;
}

int exit_code_of(Grade grade) {
  return grade == Grade::fail ? 2 : grade == Grade::warn ? 1 : 0;
}

}  // namespace gpuward
