#include "tool/options.h"

#include "base/units.h"
#include "tool/commands.h"

namespace gpuward::gpusim::tool {

void add_size(CLI::App* app, const std::string& name, std::uint64_t& to, const std::string& help) {
  app->add_option_function<std::string>(
         name,
         [&to, name](const std::string& text) {
           const auto parsed = parse_bytes(text);
           if (!parsed) {
             throw CLI::ValidationError(
                 name, "'" + text + "' is no size; a unit is needed: 40GiB, 512MiB");
           }
           to = parsed->count;
         },
         help)
      ->type_name("SIZE");
}

void add_time(CLI::App* app, const std::string& name, std::uint64_t& to, const std::string& help) {
  app->add_option_function<std::string>(
         name,
         [&to, name](const std::string& text) {
           const auto parsed = text == "never" ? kNever : parse_time(text);
           if (!parsed) {
             throw CLI::ValidationError(name,
                                        "'" + text + "' is no time; a unit is needed: 200ms, 5s");
           }
           to = *parsed;
         },
         help)
      ->type_name("TIME");
}

}  // namespace gpuward::gpusim::tool
