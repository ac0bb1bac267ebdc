#pragma once

namespace gpuward {

// Exit codes of gpuward: a contract. Those of an operation on one service are the same.

inline constexpr int kDone = 0;  ///< and proven
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;
inline constexpr int kTimedOut = 3;
inline constexpr int kNotProven = 4;  ///< survivors are named
inline constexpr int kNoWarden = 5;
inline constexpr int kRunFailed = 125;  ///< of `run` itself; its other codes are the command's

}  // namespace gpuward
