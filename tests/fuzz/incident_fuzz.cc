// The text is a file of timed incidents. Nothing is played.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "tool/play.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gpuward::gpusim::tool;
  const std::string text(data, data + size);
  Incident incident = parse_incident(text);
  if (incident.steps.size() > kMaxSteps) std::abort();
  std::uint64_t before = 0;
  for (const Step& step : incident.steps) {
    if (step.words.empty() || step.words.size() > kMaxWords) std::abort();
    if (step.at_ns < before || step.at_ns > kMaxIncidentNs) std::abort();
    before = step.at_ns;
  }
  // Reading the words is slow, and the lines do not depend on each other.
  if (incident.steps.size() > 20) incident.steps.resize(20);
  check_incident(incident, {{"worker", 1}}, "kmsg");
  for (const Problem& problem : incident.problems)
    if (problem.line == 0 || problem.what.empty()) std::abort();
  return 0;
}
