#include "gateway/answers.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace gpuward::gateway {
namespace {

TEST(OwnAnswer, IsJsonWithReasonAndTime) {
  const auto text = write_answer({.status = 503,
                                  .reason = "queue_full",
                                  .message = "200 jobs wait \"already\".",
                                  .retry_after = std::chrono::seconds(7)},
                                 {.persistence = http::Persistence::implied, .request_id = "r1"});
  EXPECT_TRUE(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_NE(text.find("\r\nRetry-After: 7\r\n"), std::string::npos);
  EXPECT_NE(text.find("\r\nX-Request-Id: r1\r\n"), std::string::npos);
  EXPECT_EQ(text.find("Connection:"), std::string::npos);
  const auto body = boost::json::parse(text.substr(text.find("\r\n\r\n") + 4));
  EXPECT_EQ(body.at("error").at("reason"), "queue_full");
  EXPECT_EQ(body.at("error").at("message"), "200 jobs wait \"already\".");
  EXPECT_EQ(body.at("error").at("retry_after_seconds"), 7);
}

TEST(OwnAnswer, IsAPageThatAsksAgainForABrowser) {
  const auto text = write_answer(loading("<xray>", std::chrono::seconds(12)), {.page = true});
  EXPECT_NE(text.find("text/html"), std::string::npos);
  EXPECT_NE(text.find("content=\"12\""), std::string::npos);
  EXPECT_NE(text.find("&lt;xray&gt; is starting: ready in about 12.0 s."), std::string::npos);
  EXPECT_NE(text.find("Connection: close\r\n"), std::string::npos);
}

TEST(OwnAnswer, ToAHeadHasNoBody) {
  const auto text =
      write_answer({.status = 502, .reason = "x", .message = "y"}, {.head_only = true});
  EXPECT_TRUE(text.ends_with("\r\n\r\n"));
  EXPECT_EQ(text.find("Content-Length: 0"), std::string::npos) << "it says how long it would be";
}

TEST(OwnAnswer, EveryRefusalHasItsStatus) {
  EXPECT_EQ(own_answer(gpuward::Refusal{.reason = RefusalReason::over_quota}).status, 429);
  EXPECT_EQ(own_answer(gpuward::Refusal{.reason = RefusalReason::too_late}).status, 504);
  EXPECT_EQ(own_answer(http::Refusal{431, "the head is too large"}).message,
            "the head is too large");
}

}  // namespace
}  // namespace gpuward::gateway
