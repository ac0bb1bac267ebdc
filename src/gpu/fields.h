#pragma once

#include <cstdint>
#include <vector>

#include "gpu/caller.h"

namespace gpuward::gpu {

/// The number in @p value as the driver typed it; negative ones and those of unknown types are 0.
std::uint64_t number_in(const abi::Value& value, std::int32_t type);

/// Some field values of a card, asked for in one call. Each has a code of its own.
class FieldBatch {
 public:
  /// Puts field @p id into @p into at the next read, unless it is not supported: that was asked for
  /// once.
  template <class T>
  void want(abi::Field id, Reading<T>& into) {
    if (into.answer == Answer::not_supported) return;
    wanted_.push_back(
        {id, &into, [](void* reading, const Caller& caller, abi::Code code, std::uint64_t value) {
           *static_cast<Reading<T>*>(reading) = caller.reading(code, static_cast<T>(value));
         }});
  }
  void read(const Caller& caller);

 private:
  struct Wanted {
    abi::Field id;
    void* reading;
    void (*put)(void* reading, const Caller&, abi::Code, std::uint64_t);
  };
  std::vector<Wanted> wanted_;
};

}  // namespace gpuward::gpu
