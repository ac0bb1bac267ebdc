// What a client of `gpuward metrics --listen` sends.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cli/scrape.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gpuward::cli;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto verdict = judge_scrape(text);
  if (!verdict) return size < kLongestRequest + 16 ? 0 : (std::abort(), 0);
  if (verdict->status == 200 && text.find("/metrics") == std::string_view::npos) std::abort();
  const auto answer = scrape_answer(*verdict, "x 1\n");
  if (!answer.starts_with("HTTP/1.1 ") || answer.find("\r\n\r\n") == std::string::npos)
    std::abort();
  return 0;
}
