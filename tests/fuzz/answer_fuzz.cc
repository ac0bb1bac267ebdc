// What a service answers to a golden canary, compared with what is known.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "answer/known_answer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gpuward::answer;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto half = text.find('\n');
  const std::string_view known = text.substr(0, half);
  const std::string_view other = half == text.npos ? known : text.substr(half + 1);
  static const auto fixed =
      KnownAnswer::make(R"({"job": 1, "r": [{"n": 0.5, "t": "x"}, 7]})", {{"/job"}, 0.1});
  if (const auto differs = fixed->difference(other); differs && differs->size() > 1000)
    std::abort();
  const auto made = KnownAnswer::make(std::string(known), {});
  if (!made) return 0;
  if (made->difference(known)) std::abort();
  (void)made->difference(other);
  (void)made->idle_pointers();
  return 0;
}
