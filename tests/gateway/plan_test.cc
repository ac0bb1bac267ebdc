#include "gateway/plan.h"

#include <sys/mman.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "control/gateway_messages.h"

namespace gpuward::gateway {
namespace {

Door door(const std::string& service) {
  Door one;
  one.service = service;
  one.model.listen = "127.0.0.1:7860";
  one.replicas = {{.index = 0, .endpoint = "127.0.0.1:20001", .state = ReplicaState::ready}};
  return one;
}

os::Fd file_of(const std::vector<Door>& doors, std::string_view more = {}) {
  auto file = os::Fd::take(::memfd_create("plan", MFD_CLOEXEC));
  std::vector<std::byte> room(wire::kMaxSmall + wire::kFrameHeader);
  for (const Door& one : doors) {
    const auto frame = wire::encode(DoorPlan{one}, room);
    EXPECT_TRUE(frame);
    EXPECT_TRUE(os::write_all(file, *frame, "write the plan"));
  }
  EXPECT_TRUE(os::write_all(file, more, "write the plan"));
  return file;
}

TEST(Plan, IsReadAsItWasWritten) {
  std::vector<Door> doors;
  for (int n = 0; n < 300; ++n) doors.push_back(door("service-" + std::to_string(n)));
  const auto read = read_plan(file_of(doors));
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(*read, doors);
}

TEST(Plan, NoneIsNoDoors) {
  const auto read = read_plan(file_of({}));
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->empty());
}

TEST(Plan, CutOffOrGarbageIsAnError) {
  EXPECT_FALSE(read_plan(file_of({door("a")}, std::string_view("\x10\0\0\0gw", 6))));
  EXPECT_FALSE(read_plan(file_of({}, "this is no plan at all")));
}

TEST(Plan, WhatCannotBeOpenedIsSaid) {
  EXPECT_FALSE(problem_of(door("a")));
  const auto spoilt = [](auto spoil) {
    Door one = door("a");
    spoil(one);
    return problem_of(one).value_or("");
  };
  EXPECT_NE(spoilt([](Door& d) { d.service = "a:b"; }), "");
  EXPECT_NE(spoilt([](Door& d) { d.model.protocol = Protocol::none; }), "");
  EXPECT_NE(spoilt([](Door& d) { d.model.protocol = static_cast<Protocol>(77); }), "");
  EXPECT_NE(spoilt([](Door& d) { d.model.usual = static_cast<JobClass>(3); }), "");
  EXPECT_NE(spoilt([](Door& d) {
              d.model.routes.push_back({.prefix = "/", .job_class = static_cast<JobClass>(9)});
            }),
            "");
  EXPECT_NE(spoilt([](Door& d) { d.model.on_client_gone = static_cast<OnClientGone>(9); }), "");
  EXPECT_NE(spoilt([](Door& d) { d.model.patience = std::chrono::milliseconds(0); }), "");
  EXPECT_NE(spoilt([](Door& d) { d.replicas[0].index = 4'000'000'000; }), "");
  EXPECT_NE(spoilt([](Door& d) { d.replicas[0].endpoint = "localhost:80"; }), "");
  EXPECT_NE(spoilt([](Door& d) { d.replicas[0].state = static_cast<ReplicaState>(3); }), "");
  EXPECT_EQ(spoilt([](Door& d) { d.replicas[0] = {}; }), "") << "one that never ran";
}

}  // namespace
}  // namespace gpuward::gateway
