#pragma once

#include <span>
#include <string>
#include <string_view>

#include "config/report.h"
#include "config/tree.h"

namespace gpuward::config {

/// A key that gpuward knows, and the part that brings it if it is not here yet.
struct Key {
  std::string_view name;
  std::string_view later;  ///< empty: supported
};

/// Below [service.NAME], and below one of its tables ("ready", "stop", "backoff").
std::span<const Key> service_keys();
std::span<const Key> keys_below(std::string_view table);

/// Is @p entry one of @p keys and supported? If not, adds the problem that says why.
/// @param table  "" for a service, else the name of the table the keys stand in.
bool accept_key(const Entry& entry, std::span<const Key> keys, std::string_view table,
                Report& report);

/// The edit distance of two words, where swapping neighbours counts once.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// Is @p word probably a slip of the pen for @p known?
bool is_near(std::string_view word, std::string_view known);

/// The known word nearest to @p word, empty when none is near.
std::string_view nearest(std::string_view word, std::span<const std::string_view> known);

}  // namespace gpuward::config
