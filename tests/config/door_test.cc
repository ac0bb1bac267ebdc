#include "config/door_reader.h"
#include "text.h"

namespace gpuward::config {
namespace {

using namespace std::chrono_literals;

constexpr const char* kService = "[service.a]\ncommand = [\"srv\", \"{port}\"]\n";

Parsed with(const std::string& keys) {
  return parse_text(kService + keys);
}

TEST(Door, IsAsWritten) {
  const auto parsed = with(
      "listen = \"0.0.0.0:7860\"\nprotocol = \"openai\"\non_client_gone = \"drain\"\n"
      "queue = { max = 10, bytes = \"1GiB\", per_caller = 3, deadline = { emergency = \"5s\", "
      "interactive = \"60s\", batch = \"2h\" }, usual = \"batch\", job_limit = \"5m\", classes = { "
      "\"/urgent\" = \"emergency\", \"/health\" = \"pass\" } }\n"
      "client = { half_close = true, lost_after = \"10s\", patience = \"20s\", largest_body = "
      "\"8MiB\" }\n");
  ASSERT_EQ(heads(parsed.problems), Lines{});
  DoorModel want;
  want.protocol = Protocol::openai;
  want.listen = "0.0.0.0:7860";
  want.on_client_gone = OnClientGone::drain;
  for (auto& of : want.queue.classes) of.most_jobs = 10, of.most_bytes = 1_GiB;
  want.queue.classes[0].deadline = 5s;
  want.queue.classes[1].deadline = 60s;
  want.queue.classes[2].deadline = 2h;
  want.queue.most_per_caller = 3;
  want.usual = JobClass::batch;
  want.job_limit = 5min;
  want.routes = {{"/urgent", JobClass::emergency, false}, {"/health", JobClass::interactive, true}};
  want.half_close = true;
  want.lost_after = 10s;
  want.patience = 20s;
  want.largest_body = 8_MiB;
  EXPECT_EQ(parsed.services.at(0).door, want);
}

TEST(Door, OneDeadlineIsThatOfInteractiveJobs) {
  const auto parsed = with("listen = \"127.0.0.1:80\"\nqueue = { deadline = \"7s\" }\n");
  ASSERT_EQ(heads(parsed.problems), Lines{});
  const auto& classes = parsed.services.at(0).door->queue.classes;
  EXPECT_EQ(classes[0].deadline, 30s);
  EXPECT_EQ(classes[1].deadline, 7s);
  EXPECT_EQ(classes[2].deadline, 1h);
}

TEST(Door, ThereIsNoneUnlessItListens) {
  EXPECT_FALSE(with("").services.at(0).door);
  EXPECT_EQ(heads(with("protocol = \"http\"\nqueue = {}\n").problems),
            (Lines{"3:1: 'protocol' has nothing to work on, expected 'listen' beside it: where the "
                   "gateway listens for this service",
                   "4:1: 'queue' has nothing to work on, expected 'listen' beside it: where the "
                   "gateway listens for this service"}));
}

TEST(Door, HasToKnowWhereTheServiceListens) {
  const auto parsed = parse_text("[service.a]\ncommand = [\"srv\"]\nlisten = \"127.0.0.1:80\"\n");
  EXPECT_EQ(heads(parsed.problems),
            Lines{"3:1: the gateway cannot know where this service listens, expected {port} in "
                  "'command', or ready = { http = \"127.0.0.1:7861/\" }"});
  EXPECT_EQ(
      heads(parse_text("[service.a]\ncommand = [\"srv\"]\nlisten = \"127.0.0.1:80\"\nready = { tcp "
                       "= \"127.0.0.1:81\" }\n")
                .problems),
      Lines{});
}

TEST(Door, EveryMistakeIsNamedAtOnce) {
  const auto parsed = with(
      "listen = \"localhost:1\"\nprotocol = \"gopher\"\non_client_gone = \"wait\"\n"
      "queue = { max = 0, per_caller = -1, deadline = { soon = \"1s\" }, usual = \"urgent\", "
      "classes "
      "= { health = \"pass\", \"/x\" = \"fast\" } }\nclient = { lost_after = \"1s\", patience = 3 "
      "}\n");
  const auto found = heads(parsed.problems);
  ASSERT_EQ(found.size(), 11U) << testing::PrintToString(found);
  for (const char* part :
       {"'listen': ", "'protocol' does not know 'gopher'", "'on_client_gone' does not know 'wait'",
        "'queue.max' is no such number", "'queue.per_caller' is no such number",
        "'queue.deadline' does not know 'soon'", "'queue.usual' does not know 'urgent'",
        "'queue.classes': 'health' is no path", "'queue.classes' does not know 'fast'",
        "'client.lost_after'", "'client.patience'"})
    EXPECT_TRUE(std::ranges::any_of(
        found, [&](const auto& line) { return line.find(part) != std::string::npos; }))
        << part << testing::PrintToString(found);
}

TEST(Door, PortsThatNobodyCanKnowAreRefused) {
  for (const char* listen : {"0.0.0.0:0", "127.0.0.1:{port}"})
    EXPECT_EQ(heads(with(std::string("listen = \"") + listen + "\"\n").problems).size(), 1U)
        << listen;
}

}  // namespace
}  // namespace gpuward::config
