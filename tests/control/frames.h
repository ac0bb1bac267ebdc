#pragma once

#include <cstddef>
#include <gtest/gtest.h>
#include <initializer_list>
#include <vector>

#include "control/messages.h"
#include "control/wire.h"

namespace gpuward {

using Bin = std::vector<std::byte>;

inline Bin bin(std::initializer_list<int> values) {
  Bin bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

/// The whole frame of @p message.
template <class T>
Bin frame_of(const T& message) {
  Bin buffer(wire::kMaxSmall + wire::kFrameHeader);
  auto frame = wire::encode(message, buffer);
  if (!frame) {
    ADD_FAILURE() << frame.error().message();
    return {};
  }
  return {frame->begin(), frame->end()};
}

}  // namespace gpuward
