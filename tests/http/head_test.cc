#include "http/head.h"

#include <gtest/gtest.h>
#include <string>

namespace gpuward::http {
namespace {

using namespace std::string_literals;

using Kind = Framing::Kind;

/// The request of @p lines, with "Host: h" and the empty line added.
std::string with_host(std::string_view lines) {
  return std::string(lines) + "Host: h\r\n\r\n";
}

/// Scans and parses; the status it is refused with, 0 for none.
int refused(const std::string& text) {
  HeadScan scan;
  const auto end = scan.find_end(text);
  if (!end) return end.error().status;
  if (*end == 0) return -1;
  const auto head = parse_request(std::string_view(text).substr(0, *end));
  return head ? 0 : head.error().status;
}

std::string_view why_refused(const std::string& text) {
  HeadScan scan;
  const auto end = scan.find_end(text);
  if (!end) return end.error().why;
  const auto head = parse_request(std::string_view(text).substr(0, *end));
  return head ? std::string_view{} : head.error().why;
}

TEST(HeadScan, FindsTheSameEndHoweverTheHeadIsCut) {
  const std::string head = "GET / HTTP/1.1\r\nHost: h\r\nA: b\tc\r\n\r\n";
  const std::string text = head + "body\n\0\r"s;
  for (std::size_t step = 1; step <= text.size(); ++step) {
    HeadScan scan;
    std::size_t end = 0;
    for (std::size_t size = step; end == 0 && size < text.size() + step; size += step) {
      const auto found = scan.find_end(std::string_view(text).substr(0, size));
      ASSERT_TRUE(found) << found.error().why;
      end = *found;
    }
    EXPECT_EQ(end, head.size()) << step;
  }
}

TEST(HeadScan, RefusesAtTheFirstByteThatIsWrong) {
  const struct {
    std::string text;
    std::string_view why;
  } table[] = {
      {"GET / HTTP/1.1\n", "a line ends without CR"},
      {"\n", "a line ends without CR"},
      {"\r\n", "an empty line before the first one"},
      {"GET / HTTP/1.1\rX", "a CR without LF"},
      {"\rX", "a CR without LF"},
      {"GET / HTTP/1.1\r\nA: b\r\n ", "a line that begins with a space"},
      {"GET / HTTP/1.1\r\n\t", "a line that begins with a space"},
      {" ", "a line that begins with a space"},
      {"GET /\0"s, "a control character in the head"},
      {"GET / HTTP/1.1\r\nA: \x7f", "a control character in the head"},
      {"\x16", "a control character in the head"},  // TLS
  };
  for (const auto& row : table) {
    HeadScan scan;
    const auto before = scan.find_end(std::string_view(row.text).substr(0, row.text.size() - 1));
    ASSERT_TRUE(before) << row.text;
    EXPECT_EQ(*before, 0U) << row.text;
    const auto found = scan.find_end(row.text);
    ASSERT_FALSE(found) << row.text;
    EXPECT_EQ(found.error(), (Refusal{400, row.why}));
  }
}

TEST(HeadScan, BoundsTheHead) {
  HeadScan long_line;
  EXPECT_EQ(long_line.find_end(std::string(kMaxHead, 'a')).error().status, 414);
  HeadScan large;
  const std::string start = "GET / HTTP/1.1\r\nA: ";
  EXPECT_EQ(large.find_end(start + std::string(kMaxHead, 'a')).error().status, 431);
  HeadScan just_fits;
  const std::string fits = start + std::string(kMaxHead - start.size() - 4, 'a') + "\r\n\r\n";
  EXPECT_EQ(just_fits.find_end(fits), kMaxHead);
}

TEST(ParseRequest, SaysWhatItIs) {
  const std::string text =
      "POST /a?b=c HTTP/1.1\r\nHost: example.org:80\r\nContent-Length: 12\r\n"
      "Expect: 100-Continue\r\nX-Empty:\r\n\r\n";
  const auto head = parse_request(text);
  ASSERT_TRUE(head) << head.error().why;
  EXPECT_EQ(head->method, "POST");
  EXPECT_EQ(head->target, "/a?b=c");
  EXPECT_EQ(head->host, "example.org:80");
  EXPECT_EQ(head->minor, 1);
  EXPECT_EQ(head->framing, (Framing{Kind::length, 12}));
  EXPECT_TRUE(head->keep_alive);
  EXPECT_TRUE(head->expects_continue);
  EXPECT_FALSE(head->websocket);
  ASSERT_EQ(head->fields.size(), 4U);
  EXPECT_EQ(head->fields[3].name, "X-Empty");
  EXPECT_EQ(head->fields[3].value, "");
}

TEST(ParseRequest, ReadsTheFraming) {
  const struct {
    const char* lines;
    Framing framing;
  } table[] = {
      {"GET / HTTP/1.1\r\n", {Kind::none, 0}},
      {"POST / HTTP/1.1\r\nContent-Length: 0\r\n", {Kind::length, 0}},
      {"POST / HTTP/1.1\r\ncontent-length: 18446744073709551615\r\n",
       {Kind::length, 18446744073709551615ULL}},
      {"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n", {Kind::chunked, 0}},
  };
  for (const auto& row : table) {
    const auto text = with_host(row.lines);
    const auto head = parse_request(text);
    ASSERT_TRUE(head) << row.lines << head.error().why;
    EXPECT_EQ(head->framing, row.framing) << row.lines;
  }
}

TEST(ParseRequest, RefusesEveryShapeThatTwoReadersUnderstandDifferently) {
  const struct {
    int status;
    const char* lines;
  } table[] = {
      {400, "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"},
      {400, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n"},
      {400, "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nContent-Length: 5\r\n"},
      {400, "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n"},
      {400, "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n"},
      {400, "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n"},
      {400, "POST / HTTP/1.1\r\nContent-Length: 5,\r\n"},
      {400, "POST / HTTP/1.1\r\nContent-Length: +5\r\n"},
      {400, "POST / HTTP/1.1\r\nContent-Length: -5\r\n"},
      {400, "POST / HTTP/1.1\r\nContent-Length: 0x5\r\n"},
      {400, "POST / HTTP/1.1\r\nContent-Length: 5 5\r\n"},
      {400, "POST / HTTP/1.1\r\nContent-Length:\r\n"},
      {400, "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n"},
      {400, "POST / HTTP/1.1\r\nContent-Length : 5\r\n"},
      {400, "POST / HTTP/1.1\r\nContent_Length: 5\r\n"},
      {400, "POST / HTTP/1.1\r\nTransfer_Encoding: chunked\r\n"},
      {400, "POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n"},
      {400, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"},
      {400, "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"},
      {501, "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n"},
      {501, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n"},
      {501, "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n"},
      {501, "POST / HTTP/1.1\r\nTransfer-Encoding: \"chunked\"\r\n"},
      {501, "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n"},
      {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"},
      {400, "POST / HTTP/1.1\r\nConnection: close, Content-Length\r\nContent-Length: 5\r\n"},
      {400, "POST / HTTP/1.1\r\nConnection: host\r\n"},
      {400, "GET / HTTP/1.1\r\nHost: other\r\n"},
      {400, "GET / HTTP/1.1\r\nNo colon here\r\n"},
      {400, "GET / HTTP/1.1\r\n: nameless\r\n"},
      {400, "GET / HTTP/1.1\r\nA\x01: b\r\n"},
      {400, "GET  / HTTP/1.1\r\n"},
      {505, "GET /a b HTTP/1.1\r\n"},
      {400, "G(T / HTTP/1.1\r\n"},
      {400, "GET /#a HTTP/1.1\r\n"},
      {400, "GET a HTTP/1.1\r\n"},
      {400, "GET * HTTP/1.1\r\n"},
      {400, "GET http://other/ HTTP/1.1\r\n"},
      {400, "GET ftp://h/ HTTP/1.1\r\n"},
      {400, "GET http://h HTTP/1.1\r\n"},
      {505, "GET / HTTP/1.2\r\n"},
      {505, "GET / HTTP/2.0\r\n"},
      {505, "GET / http/1.1\r\n"},
      {505, "GET / HTTP/1.1 \r\n"},
      {501, "CONNECT /h:80 HTTP/1.1\r\n"},
      {501, "TRACE / HTTP/1.1\r\n"},
      {417, "POST / HTTP/1.1\r\nExpect: 200-ok\r\n"},
  };
  for (const auto& row : table) EXPECT_EQ(refused(with_host(row.lines)), row.status) << row.lines;
}

TEST(ParseRequest, WantsOneHostThatIsAName) {
  EXPECT_EQ(why_refused("GET / HTTP/1.1\r\n\r\n"), "no Host");
  EXPECT_EQ(why_refused("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"), "two Hosts");
  for (const char* bad : {"a/b", "a@b", "a, b", "a b", "a\\b", "a?b"})
    EXPECT_EQ(why_refused("GET / HTTP/1.1\r\nHost: " + std::string(bad) + "\r\n\r\n"),
              "Host is no name and port")
        << bad;
  for (const char* good : {"a", "a.b:80", "[::1]:7860", "127.0.0.1", "a_b", ""})
    EXPECT_EQ(refused("GET / HTTP/1.1\r\nHost: " + std::string(good) + "\r\n\r\n"), 0) << good;
  EXPECT_EQ(refused("GET / HTTP/1.0\r\n\r\n"), 0);
}

TEST(ParseRequest, TakesTheAbsoluteFormOfItsOwnHost) {
  const auto text = with_host("GET HTTP://H/a?b HTTP/1.1\r\n");
  const auto head = parse_request(text);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->target, "/a?b");
  EXPECT_EQ(refused(with_host("OPTIONS * HTTP/1.1\r\n")), 0);
}

TEST(ParseRequest, BoundsTargetAndFields) {
  EXPECT_EQ(refused(with_host("GET /" + std::string(kMaxTarget, 'a') + " HTTP/1.1\r\n")), 414);
  std::string fields = "GET / HTTP/1.1\r\n";
  for (std::size_t n = 1; n < kMaxFields; ++n) fields += "A: b\r\n";
  EXPECT_EQ(refused(with_host(fields)), 0);
  EXPECT_EQ(refused(with_host(fields + "A: b\r\n")), 431);
}

TEST(ParseRequest, KnowsWhetherTheConnectionIsKept) {
  const struct {
    const char* lines;
    bool kept;
  } table[] = {
      {"GET / HTTP/1.1\r\n", true},
      {"GET / HTTP/1.1\r\nConnection: x, CLOSE\r\n", false},
      {"GET / HTTP/1.0\r\n", false},
      {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", true},
      {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n", false},
  };
  for (const auto& row : table)
    EXPECT_EQ(parse_request(with_host(row.lines)).value().keep_alive, row.kept) << row.lines;
}

TEST(ParseRequest, OffersOnlyTheSwitchToWebsocket) {
  const struct {
    const char* lines;
    bool websocket;
  } table[] = {
      {"GET / HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n", true},
      {"GET / HTTP/1.1\r\nUpgrade: websocket\r\n", false},
      {"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n", false},
      {"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", false},
      {"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", false},
      {"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
       false},
  };
  for (const auto& row : table)
    EXPECT_EQ(parse_request(with_host(row.lines)).value().websocket, row.websocket) << row.lines;
}

TEST(ParseResponse, ReadsTheFraming) {
  const Asked get{};
  const Asked head{.head = true};
  const Asked websocket{.websocket = true};
  const Asked old{.minor = 0};
  const std::string to_websocket =
      "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  const struct {
    Asked asked;
    std::string text;
    Framing framing;
    bool kept;
  } table[] = {
      {get, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", {Kind::length, 7}, true},
      {get, "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", {Kind::chunked, 0}, true},
      {get, "HTTP/1.1 200 OK\r\n\r\n", {Kind::until_close, 0}, false},
      {get, "HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n", {Kind::length, 7}, false},
      {get,
       "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
       {Kind::length, 0},
       false},
      {head, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", {Kind::none, 0}, true},
      {head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", {Kind::none, 0}, true},
      {get, "HTTP/1.1 204 No\r\nContent-Length: 7\r\n\r\n", {Kind::none, 0}, true},
      {get, "HTTP/1.1 304 Same\r\nContent-Length: 7\r\n\r\n", {Kind::none, 0}, true},
      {get, "HTTP/1.1 100 Continue\r\n\r\n", {Kind::none, 0}, true},
      {old, "HTTP/1.0 200 OK\r\n\r\n", {Kind::until_close, 0}, false},
      {websocket, to_websocket, {Kind::tunnel, 0}, false},
  };
  for (const auto& row : table) {
    const auto response = parse_response(row.text, row.asked);
    ASSERT_TRUE(response) << row.text << response.error().why;
    EXPECT_EQ(response->framing, row.framing) << row.text;
    EXPECT_EQ(response->keep_alive, row.kept) << row.text;
  }
}

TEST(ParseResponse, RefusesWhatIsInDoubtAsTheUpstreamsFault) {
  const Asked get{};
  const Asked old{.minor = 0};
  const struct {
    Asked asked;
    const char* text;
  } table[] = {
      {get, "garbage\r\n\r\n"},
      {get, "SSH-2.0-OpenSSH_9.2\r\n\r\n"},
      {get, "HTTP/1.1 099 x\r\n\r\n"},
      {get, "HTTP/1.1 600 x\r\n\r\n"},
      {get, "HTTP/1.1 20 x\r\n\r\n"},
      {get, "HTTP/2.0 200 OK\r\n\r\n"},
      {get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"},
      {get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"},
      {get, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {get, "HTTP/1.1 200 OK\r\nContent_Length: 5\r\n\r\n"},
      {get, "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
      {Asked{.websocket = true}, "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"},
      {old, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
  };
  for (const auto& row : table) {
    const auto response = parse_response(row.text, row.asked);
    ASSERT_FALSE(response) << row.text;
    EXPECT_EQ(response.error().status, 502) << row.text;
    EXPECT_FALSE(response.error().why.empty()) << row.text;
  }
}

}  // namespace
}  // namespace gpuward::http
