#pragma once

#include <optional>
#include <string>
#include <string_view>

// The little of HTTP/1.1 that a scraper of metrics needs: one request a connection, without a body.
// Not Boost.Beast: the answer takes the method and the path of the first line and nothing of the
// rest, so that there is little to get wrong, and the command stays as small as it is.

namespace gpuward::cli {

inline constexpr std::size_t kLongestRequest = 8 << 10;

/// Is the request in @p received whole, or hopeless? Then its status: 200, 400 for what is no
/// request, 404, 405, 431 beyond kLongestRequest, 505. nullopt: read on.
struct ScrapeVerdict {
  int status = 200;
  bool head_only = false;
  friend bool operator==(const ScrapeVerdict&, const ScrapeVerdict&) = default;
};
std::optional<ScrapeVerdict> judge_scrape(std::string_view received);

/// The answer with its head. @p body goes along with status 200 only, and not for HEAD, which is
/// told its length.
std::string scrape_answer(const ScrapeVerdict& verdict, std::string_view body);

}  // namespace gpuward::cli
