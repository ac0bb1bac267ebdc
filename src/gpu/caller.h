#pragma once

#include <utility>

#include "domain/reading.h"
#include "gpu/library.h"

namespace gpuward::gpu {

/// What a code says of a value that was asked for. Never `known`.
Answer answer_of(abi::Code code);

/// One card to be asked, by one thread.
struct Caller {
  const Library& library;
  CallMark& mark;
  int index;
  abi::Device device;
  std::int64_t now_ns;  ///< CLOCK_MONOTONIC: the readings' time

  /// @p function of this card, with further arguments.
  template <class Fn, class... Args>
  abi::Code operator()(const Symbol<Fn>& function, Args... args) const {
    return function(mark, index, device, std::forward<Args>(args)...);
  }

  /// The reading that @p code and @p value make.
  template <class T>
  Reading<T> reading(abi::Code code, T value) const {
    if (code == abi::kSuccess) return Reading<T>(value, now_ns);
    return Reading<T>::none(answer_of(code), now_ns);
  }

  /// Asks for one number into @p into. What is not supported is not asked for again.
  /// @param which  what stands between the device and the number: a sensor, a clock
  template <class T, class Fn, class... Which>
  void ask(const Symbol<Fn>& function, Reading<T>& into, Which... which) const {
    if (into.answer == Answer::not_supported) return;
    T value{};
    const abi::Code code = (*this)(function, which..., &value);
    into = reading(code, value);
  }
};

}  // namespace gpuward::gpu
