#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

/// Options that both the command line and the lines of an incident have.
namespace gpuward::gpusim::tool {

/// An option whose value must be a size with a unit.
void add_size(CLI::App* app, const std::string& name, std::uint64_t& to, const std::string& help);
/// A time with a unit, or "never".
void add_time(CLI::App* app, const std::string& name, std::uint64_t& to, const std::string& help);

}  // namespace gpuward::gpusim::tool
