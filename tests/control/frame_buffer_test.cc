#include <algorithm>
#include <cstdint>
#include <gtest/gtest.h>
#include <span>

#include "control/channel.h"
#include "control/frames.h"

namespace gpuward {
namespace {

void feed(control::FrameBuffer& frames, std::span<const std::byte> bytes) {
  auto room = frames.room();
  ASSERT_GE(room.size(), bytes.size());
  std::ranges::copy(bytes, room.begin());
  frames.add(bytes.size());
}

Bin numbered(std::uint32_t generation) {
  AnchorRequest request;
  request.generation = generation;
  return frame_of(request);
}

std::uint32_t number_of(const wire::Body& body) {
  auto request = wire::decode<AnchorRequest>(body);
  return request ? request->generation : 0;
}

TEST(FrameBuffer, BytesMayArriveOneByOne) {
  control::FrameBuffer frames(256);
  for (std::uint32_t generation = 1; generation <= 50; ++generation) {
    const auto frame = numbered(generation);
    for (std::size_t n = 0; n < frame.size(); ++n) {
      feed(frames, std::span(frame).subspan(n, 1));
      auto body = frames.next();
      ASSERT_TRUE(body);
      ASSERT_EQ(body->has_value(), n + 1 == frame.size());
      if (*body) {
        EXPECT_EQ(number_of(**body), generation);
      }
    }
  }
}

TEST(FrameBuffer, ManyFramesMayArriveAtOnceAndTheLastCut) {
  control::FrameBuffer frames(256);
  Bin bytes;
  for (std::uint32_t generation = 1; generation <= 4; ++generation) {
    const auto frame = numbered(generation);
    bytes.insert(bytes.end(), frame.begin(), frame.end());
  }
  feed(frames, std::span(bytes).first(bytes.size() - 1));
  for (std::uint32_t generation = 1; generation <= 3; ++generation) {
    auto body = frames.next();
    ASSERT_TRUE(body && *body);
    EXPECT_EQ(number_of(**body), generation);
  }
  auto body = frames.next();
  ASSERT_TRUE(body);
  EXPECT_FALSE(*body);
  feed(frames, std::span(bytes).last(1));
  body = frames.next();
  ASSERT_TRUE(body && *body);
  EXPECT_EQ(number_of(**body), 4U);
}

TEST(FrameBuffer, AFrameOfExactlyTheLimitFits) {
  const auto frame = numbered(1);
  control::FrameBuffer frames(frame.size() - wire::kFrameHeader);
  for (int n = 0; n < 3; ++n) {
    feed(frames, frame);
    auto body = frames.next();
    ASSERT_TRUE(body && *body);
    EXPECT_EQ(number_of(**body), 1U);
    body = frames.next();
    ASSERT_TRUE(body);
    EXPECT_FALSE(*body);
    EXPECT_EQ(frames.room().size(), frame.size());
  }
}

TEST(FrameBuffer, AFrameBeyondTheLimitIsAnErrorBeforeItArrives) {
  for (const auto& header : {bin({65, 0, 0, 0}), bin({0, 0, 0, 1}), bin({255, 255, 255, 255})}) {
    control::FrameBuffer frames(64);
    feed(frames, header);
    auto body = frames.next();
    ASSERT_FALSE(body);
    EXPECT_EQ(body.error().doing.view(), "read a frame beyond its limit");
    EXPECT_EQ(body.error().code, make_error_code(Errc::bad_message));
    frames.clear();
    feed(frames, numbered(1));
    EXPECT_TRUE(frames.next());
  }
}

TEST(FrameBuffer, AnEmptyOrForeignBodyIsAnError) {
  for (const auto& bytes :
       {bin({0, 0, 0, 0}), bin({2, 0, 0, 0, 'g', 'w'}), bin({4, 0, 0, 0, 'G', 'E', 'T', ' '})}) {
    control::FrameBuffer frames(64);
    feed(frames, bytes);
    EXPECT_FALSE(frames.next());
  }
}

}  // namespace
}  // namespace gpuward
