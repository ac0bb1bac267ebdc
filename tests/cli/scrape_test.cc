#include "cli/scrape.h"

#include <gtest/gtest.h>

namespace gpuward::cli {
namespace {

int status_of(std::string_view request) {
  const auto verdict = judge_scrape(request);
  return verdict ? verdict->status : 0;
}

TEST(Scrape, OnlyMetricsAreGivenOutAndOnlyByGetAndHead) {
  struct Row {
    const char* line;
    int status;
  };
  for (const Row& row : {Row{"GET /metrics HTTP/1.1", 200},
                         {"GET /metrics?x=1 HTTP/1.1", 200},
                         {"HEAD /metrics HTTP/1.0", 200},
                         {"GET / HTTP/1.1", 404},
                         {"GET /metricsx HTTP/1.1", 404},
                         {"POST /other HTTP/1.1", 404},
                         {"POST /metrics HTTP/1.1", 405},
                         {"GET /metrics HTTP/2.0", 505},
                         {"GET /metrics", 400},
                         {"get /metrics HTTP/1.1", 400},
                         {"GET http://x/metrics HTTP/1.1", 400},
                         {"", 400},
                         {"nonsense", 400},
                         {"GET  /metrics HTTP/1.1", 400}}) {
    EXPECT_EQ(status_of(std::string(row.line) + "\r\nHost: x\r\n\r\n"), row.status) << row.line;
  }
}

TEST(Scrape, ARequestIsJudgedWhenItIsWholeAndNotLater) {
  const std::string whole = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
  for (std::size_t n = 0; n < whole.size(); ++n)
    EXPECT_EQ(judge_scrape(whole.substr(0, n)), std::nullopt) << n;
  EXPECT_EQ(status_of("\r\n" + whole), 200);
  EXPECT_EQ(status_of(std::string(kLongestRequest, 'x')), 431);
  EXPECT_EQ(status_of(std::string(kLongestRequest - 1, 'x')), 0);
}

TEST(Scrape, HeadIsToldTheLengthAndNoBody) {
  const auto get = scrape_answer({200, false}, "x 1\n");
  EXPECT_TRUE(get.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_NE(get.find("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            std::string::npos);
  EXPECT_NE(get.find("Content-Length: 4\r\n"), std::string::npos);
  EXPECT_TRUE(get.ends_with("\r\n\r\nx 1\n"));
  EXPECT_EQ(scrape_answer({200, true}, "x 1\n"), get.substr(0, get.size() - 4));
}

TEST(Scrape, ARefusalSaysWhyAndNothingElse) {
  const auto refusal = scrape_answer({405, false}, "secret");
  EXPECT_TRUE(refusal.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
  EXPECT_NE(refusal.find("Allow: GET, HEAD\r\n"), std::string::npos);
  EXPECT_EQ(refusal.find("secret"), std::string::npos);
}

}  // namespace
}  // namespace gpuward::cli
