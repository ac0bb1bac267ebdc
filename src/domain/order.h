#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "domain/service.h"

// Which service starts after which. Starts go along the links, stops go against them.

namespace gpuward {

/// A service that another one starts after.
struct StartLink {
  std::string to;
  bool needed = false;  ///< by `requires`: without it the other one does not start
  friend bool operator==(const StartLink&, const StartLink&) = default;
};

/// By the name of a service: what it starts after, each name once.
using StartLinks = std::map<std::string, std::vector<StartLink>, std::less<>>;

/// `requires` before `after`; a name in both is needed. A service without links is not in it.
StartLinks links_of(const std::vector<ServiceModel>& services);
std::vector<StartLink> links_of(const std::vector<std::string>& needs,
                                const std::vector<std::string>& after);

/// @p names so that each comes after those of them that it is linked to; otherwise by name. On a
/// circle, which the configuration refuses, nobody is left out.
std::vector<std::string> in_start_order(const StartLinks& links, std::vector<std::string> names);

/// @p names and whatever these require, and those in turn. Sorted by name.
std::vector<std::string> with_needed(const StartLinks& links,
                                     const std::vector<std::string>& names);

/// Everything that requires @p name, and whatever requires that. Sorted by name.
std::vector<std::string> who_needs(const StartLinks& links, const std::string& name);

/// What to say where @p name is not stopped because @p living require it.
std::string not_stopped_text(const std::string& name, const std::vector<std::string>& living);

/// Circles of links: of each the names, where every one starts after the next and the last after
/// the first. Without one link of each circle there is none left.
std::vector<std::vector<std::string>> circles(const StartLinks& links);

/// The longest sum of @p own along the links among @p names: how long it takes where each begins
/// when those before it are done. Zero without names.
std::chrono::milliseconds longest_chain(
    const StartLinks& links, const std::vector<std::string>& names,
    const std::function<std::chrono::milliseconds(const std::string&)>& own);

/// How far one is that another one starts after.
enum class Standing : std::uint8_t {
  ready,
  coming,   ///< it starts, or is going to
  retried,  ///< it has failed, and its anchor will try again
  failed,
  absent,  ///< it does not run, and nobody has asked for it
};

/// May a service start now?
struct Gate {
  enum class Way : std::uint8_t { open, wait, closed };
  Way way = Way::open;
  std::string text{};  ///< waiting: "waits for db, cache"; closed: "it requires 'db', which failed"
  bool only_retried = false;  ///< waiting: all of these have failed and are tried again
  std::string blocker{};      ///< closed: by whom
};
/// A required one that cannot come closes the gate. A required one holds it until it is ready, one
/// of `after` until it is ready or has failed once.
Gate gate_of(const std::vector<StartLink>& links,
             const std::function<Standing(const std::string&)>& standing);

}  // namespace gpuward
