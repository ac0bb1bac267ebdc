#include "http/body.h"

#include <gtest/gtest.h>
#include <string>

namespace gpuward::http {
namespace {

using namespace std::string_literals;

using Kind = Framing::Kind;
constexpr Framing kChunked{Kind::chunked, 0};

/// Gives @p text in pieces of @p step bytes, as a connection would: what was not taken is given
/// again. The bytes that belong to the body, or nullopt when they were refused.
std::optional<std::string> relayed(BodyScan& scan, std::string_view text, std::size_t step) {
  std::string out;
  std::string buffer;
  while (!text.empty() && !scan.done()) {
    const auto piece = text.substr(0, step);
    text.remove_prefix(piece.size());
    buffer.append(piece);
    const auto taken = scan.take(buffer);
    if (!taken) return std::nullopt;
    out.append(buffer, 0, *taken);
    buffer.erase(0, *taken);
  }
  return out;
}

TEST(BodyScan, TakesWhatTheLengthSaysAndNoMore) {
  BodyScan scan({Kind::length, 5});
  EXPECT_FALSE(scan.done());
  EXPECT_EQ(scan.take("abc"), 3U);
  EXPECT_FALSE(scan.whole_at_close());
  EXPECT_EQ(scan.take("defgh"), 2U);
  EXPECT_TRUE(scan.done());
  EXPECT_TRUE(scan.whole_at_close());
  EXPECT_EQ(scan.take("next"), 0U);
}

TEST(BodyScan, KnowsTheBodiesThatAreEmptyAndThoseThatOnlyTheCloseEnds) {
  EXPECT_TRUE(BodyScan({Kind::none, 0}).done());
  EXPECT_TRUE(BodyScan({Kind::length, 0}).done());
  for (const Kind kind : {Kind::until_close, Kind::tunnel}) {
    BodyScan scan({kind, 0});
    EXPECT_EQ(scan.take("anything"), 8U);
    EXPECT_FALSE(scan.done());
    EXPECT_TRUE(scan.whole_at_close());
  }
}

TEST(BodyScan, RelaysChunksAsTheyCameHoweverTheyAreCut) {
  const std::string body =
      "5;a=b;c=\"d e\"\r\nhello\r\n00A\r\n0\r\n\r\n12345\r\n0;x\r\nTrailer: one\r\nOther:\r\n\r\n";
  for (std::size_t step = 1; step <= body.size() + 4; ++step) {
    BodyScan scan(kChunked);
    EXPECT_EQ(relayed(scan, body + "GET / HTTP/1.1\r\n", step), body) << step;
    EXPECT_TRUE(scan.done()) << step;
  }
}

TEST(BodyScan, PassesOnAnEventBeforeTheNextOneComes) {
  BodyScan scan(kChunked);
  const std::string event = "d\r\ndata: token\n\n\r\n";
  // The line end behind the data belongs to what comes next: the client needs none of it to read.
  EXPECT_EQ(scan.take(event), event.size() - 2);
  EXPECT_EQ(scan.take("\r\n" + event), event.size());
  EXPECT_FALSE(scan.whole_at_close());
}

TEST(BodyScan, PassesOnDataThatLooksLikeTheLastChunk) {
  BodyScan scan(kChunked);
  ASSERT_EQ(scan.take("5\r\n"), 3U);
  for (const char* data : {"0", "\r", "\n", "\r", "\n"}) EXPECT_EQ(scan.take(data), 1U);
  EXPECT_EQ(scan.take("\r\n0\r\n\r\n"), 7U);
  EXPECT_TRUE(scan.done());
}

TEST(BodyScan, RefusesChunksThatTwoReadersUnderstandDifferently) {
  const struct {
    const char* what;
    std::string body;
  } table[] = {
      {"no size", "\r\nabc"},
      {"no number", "x\r\nabc"},
      {"0x", "0x3\r\nabc\r\n0\r\n\r\n"},
      {"a sign", "+3\r\nabc\r\n0\r\n\r\n"},
      {"beyond 64 bit", "10000000000000000\r\n"},
      {"a space before", " 3\r\nabc\r\n0\r\n\r\n"},
      {"a space behind", "3 \r\nabc\r\n0\r\n\r\n"},
      {"a space before the extension", "3 ;a\r\nabc\r\n0\r\n\r\n"},
      {"LF alone", "3\nabc\r\n0\r\n\r\n"},
      {"CR alone", "3\rabc\r\n0\r\n\r\n"},
      {"more data than the size", "3\r\nabcd\r\n0\r\n\r\n"},
      {"LF behind the data", "3\r\nabc\n0\r\n\r\n"},
      {"LF in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n"},
      {"LF in a quoted extension", "3;a=\"\n\"\r\nabc\r\n0\r\n\r\n"},
      {"NUL in a quoted extension", "3;a=\"\0\"\r\nabc\r\n0\r\n\r\n"s},
      {"an extension without name", "3;\r\nabc\r\n0\r\n\r\n"},
      {"LF in the last chunk's extension", "0;a=\"\n\"\r\n\r\n"},
      {"a trailer without colon", "0\r\nabc\r\n\r\n"},
      {"a trailer that is folded", "0\r\nA: b\r\n c\r\n\r\n"},
      {"a trailer that ends with LF", "0\r\nA: b\nC: d\r\n\r\n"},
      {"NUL in a trailer", "0\r\nA: \0\r\n\r\n"s},
      {"a length in the trailers", "0\r\nContent-Length: 5\r\n\r\n"},
      {"a coding in the trailers", "0\r\nTransfer-Encoding: chunked\r\n\r\n"},
  };
  for (const auto& row : table)
    for (const std::size_t step : {std::size_t{1}, std::size_t{3}, row.body.size()}) {
      BodyScan scan(kChunked);
      EXPECT_EQ(relayed(scan, row.body, step), std::nullopt) << row.what << " by " << step;
    }
}

TEST(BodyScan, BoundsWhatItMakesTheCallerKeep) {
  for (const char* start : {"", "3;a=", "3;a=\"", "0\r\nA: "}) {
    BodyScan scan(kChunked);
    std::string text = start;
    text.resize(kMaxChunkHead - 1, '1');
    EXPECT_EQ(scan.take(text), 0U) << start;
    EXPECT_FALSE(scan.take(text + "1")) << start;
  }
  BodyScan at_once(kChunked);
  EXPECT_FALSE(at_once.take("0\r\nA: " + std::string(kMaxChunkHead, 'b') + "\r\n\r\n"));
}

TEST(BodyScan, FollowsAGigabyteWithoutKeepingIt) {
  BodyScan scan(kChunked);
  ASSERT_EQ(scan.take("40000000\r\n"), 10U);
  const std::string piece(1 << 20, 'x');
  for (int n = 0; n < 1024; ++n) ASSERT_EQ(scan.take(piece), piece.size());
  EXPECT_EQ(scan.take("\r\n0\r\n\r\nmore"), 7U);
  EXPECT_TRUE(scan.done());
}

}  // namespace
}  // namespace gpuward::http
