#pragma once

#include <algorithm>
#include <chrono>
#include <csignal>
#include <variant>

#include "domain/lifecycle.h"

namespace gpuward::life {

inline constexpr Instant kStart{std::chrono::hours(1)};

inline bool has(const LifeActions& actions, Action action) {
  return std::ranges::find(actions, action) != actions.end();
}

template <class State>
bool is(const Life& life) {
  return std::holds_alternative<State>(life.state);
}

inline LifePolicy policy_of(RestartPolicy restart) {
  LifePolicy policy;
  policy.restart = restart;
  return policy;
}

inline constexpr ExitStatus kCode0{};
inline constexpr ExitStatus kCode3{.value = 3};
inline constexpr ExitStatus kSegv{.signaled = true, .value = SIGSEGV, .core = true};

}  // namespace gpuward::life
