#pragma once

#include <expected>
#include <span>
#include <string>
#include <string_view>

#include "base/units.h"
#include "domain/door.h"

namespace gpuward::gateway {

extern const char kHelp[];

struct Options {
  bool help = false;
  bool by_hand = false;  ///< `door` is the only one, and listens by itself
  Door door;
  std::string spill_folder;
  Duration drain = std::chrono::seconds(30);  ///< for what is under way after TERM
};

/// @return what is wrong, for people, with the option that is.
std::expected<Options, std::string> read_options(std::span<char* const> arguments);

}  // namespace gpuward::gateway
