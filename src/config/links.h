#pragma once

#include <string_view>

#include "config/config.h"

namespace gpuward::config {

/// Adds a problem for every name in `after` and `requires` that no service of @p parsed has, and
/// for every circle, with the place of each link. Who is at fault is moved to `broken`.
void check_links(Parsed& parsed);

/// Moves the service out of `services`, if it is there: something outside of it turned out wrong.
void mark_broken(Parsed& parsed, std::string_view name);

}  // namespace gpuward::config
