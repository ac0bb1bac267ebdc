#include "http/rewrite.h"

#include <gtest/gtest.h>
#include <string>

namespace gpuward::http {
namespace {

std::string request(const std::string& text, std::span<const Field> set = {}) {
  const auto head = parse_request(text);
  EXPECT_TRUE(head) << head.error().why;
  std::string out;
  write_request(*head, set, out);
  return out;
}

std::string response(const std::string& text, const Asked& asked,
                     Persistence persistence = Persistence::implied) {
  const auto head = parse_response(text, asked);
  EXPECT_TRUE(head) << head.error().why;
  std::string out;
  write_response(*head, {}, persistence, out);
  return out;
}

TEST(WriteRequest, KeepsOrderAndSpellingAndLeavesOutWhatBelongsToOneConnection) {
  EXPECT_EQ(request("POST http://h/a?b HTTP/1.1\r\nhOST: h\r\nKeep-Alive: timeout=5\r\n"
                    "Connection: keep-alive, X-Secret\r\nX-Secret: 1\r\nX-Kept:   2  \r\n"
                    "TE: trailers\r\nProxy-Connection: close\r\nProxy: http://evil\r\n"
                    "Upgrade: h2c\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n"
                    "X-Kept: 3\r\nExpect: 100-continue\r\n\r\n"),
            "POST /a?b HTTP/1.1\r\nhOST: h\r\nX-Kept: 2\r\nTransfer-Encoding: chunked\r\n"
            "Trailer: Sum\r\nX-Kept: 3\r\nExpect: 100-continue\r\n\r\n");
}

TEST(WriteRequest, WhatTheGatewaySaysTheClientCannotSay) {
  const Field set[] = {{"X-Forwarded-For", "10.0.0.1"}};
  EXPECT_EQ(request("GET / HTTP/1.1\r\nHost: h\r\nx-forwarded-for: 6.6.6.6\r\n"
                    "X_Forwarded-For: 6.6.6.6\r\nConnection: x-forwarded-for\r\n\r\n",
                    set),
            "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n");
}

TEST(WriteRequest, AsksInTheClientsVersionAndForTheSwitchAnew) {
  EXPECT_EQ(request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), "GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(request("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\n"
                    "Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"),
            "GET /ws HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: k\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
}

TEST(WriteRequest, IsReadAsWhatItWas) {
  const std::string text =
      request("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\nA: b\r\n\r\n");
  EXPECT_EQ(request(text), text);
}

TEST(WriteResponse, SaysWhetherTheClientsConnectionIsKept) {
  const std::string text =
      "HTTP/1.0 200 Fine\r\nContent-Length: 5\r\nConnection: close\r\nServer: s\r\n\r\n";
  const std::string start = "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nServer: s\r\n";
  EXPECT_EQ(response(text, {}), start + "\r\n");
  EXPECT_EQ(response(text, {}, Persistence::close), start + "Connection: close\r\n\r\n");
  EXPECT_EQ(response(text, {}, Persistence::keep_alive), start + "Connection: keep-alive\r\n\r\n");
}

TEST(WriteResponse, ClosesWhereOnlyTheCloseEndsTheBody) {
  for (const auto persistence : {Persistence::implied, Persistence::keep_alive})
    EXPECT_EQ(response("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", {}, persistence),
              "HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\n");
}

TEST(WriteResponse, SaysNothingOfABodyThatCannotBe) {
  EXPECT_EQ(response("HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\n", {}),
            "HTTP/1.1 204 None\r\n\r\n");
  EXPECT_EQ(response("HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", {}),
            "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n");
  EXPECT_EQ(response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", {.head = true}),
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
}

TEST(WriteResponse, PassesInterimAnswersAndTheSwitchOn) {
  EXPECT_EQ(response("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", {}, Persistence::close),
            "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n");
  EXPECT_EQ(response("HTTP/1.1 101 Go\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n"
                     "Sec-WebSocket-Accept: s\r\n\r\n",
                     {.websocket = true}),
            "HTTP/1.1 101 Go\r\nSec-WebSocket-Accept: s\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
}

}  // namespace
}  // namespace gpuward::http
