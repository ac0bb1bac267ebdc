// The text is the configuration and, where it names one, also its env_file. No file is opened.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gpuward;
  const std::string text(data, data + size);
  const config::Resolver resolver{[&](const std::string&) -> Result<std::string> { return text; },
                                  "/etc/gpuward"};
  const config::Parsed parsed = config::parse(text, "fuzz.toml", resolver);
  for (const config::Problem& problem : parsed.problems)
    if (config::render(problem).empty() || problem.what.empty()) std::abort();
  // What counts as sound must hold what the model promises.
  for (const ServiceModel& service : parsed.services) {
    if (!is_service_name(service.name) || service.command.empty()) std::abort();
    if (service.command.front().empty() || service.backoff.first > service.backoff.max)
      std::abort();
    for (const std::string& word : service.command)
      if (word.find('\0') != std::string::npos) std::abort();
    for (const EnvVar& variable : service.env)
      if (variable.name.empty() || variable.name.find('=') != std::string::npos ||
          variable.value.find('\0') != std::string::npos)
        std::abort();
  }
  return 0;
}
