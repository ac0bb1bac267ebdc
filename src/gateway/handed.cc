#include "gateway/handed.h"

#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace gpuward::gateway {
namespace {

constexpr int kFirst = 3;
constexpr int kMost = 4096;

long number_in(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return -1;
  const std::string_view digits(text);
  long value = -1;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return read.ec == std::errc{} && read.ptr == digits.data() + digits.size() ? value : -1;
}

}  // namespace

std::vector<Handed> take_handed() {
  std::vector<Handed> all;
  const long count = number_in("LISTEN_FDS");
  const char* names = std::getenv("LISTEN_FDNAMES");
  std::string_view rest(names != nullptr ? names : "");
  if (number_in("LISTEN_PID") == ::getpid() && count > 0 && count <= kMost) {
    for (int n = 0; n < count; ++n) {
      const auto colon = rest.find(':');
      Handed one{.name = std::string(rest.substr(0, colon)), .fd = os::Fd::take(kFirst + n)};
      rest = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
      if (one.fd.set_cloexec(true) && one.fd.set_nonblocking(true)) all.push_back(std::move(one));
    }
  }
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  return all;
}

}  // namespace gpuward::gateway
