#include <algorithm>
#include <functional>
#include <gtest/gtest.h>
#include <random>

#include "domain/judged.h"
#include "domain/judgement.h"

// Thirty simulated days of five engine shapes, looked at once a second: no verdict but HEALTHY may
// come up while nothing is wrong, and each is found to be a ghost when it becomes one at the end.

namespace gpuward {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::int64_t kMonth = 30LL * 24 * 3600;

/// Second by second; the times are seconds since the month began.
struct Engine {
  ServiceFacts facts = judged::idle_engine();
  std::mt19937 random{7};

  std::uint32_t below(std::uint32_t end) {
    return std::uniform_int_distribution<std::uint32_t>(0, end - 1)(random);
  }
  static bool is_night(std::int64_t second) { return second / 3600 % 24 < 7; }
  void burn(double cores) { *facts.progress.cpu_ns += static_cast<std::uint64_t>(cores * 1e9); }
  void send(std::uint64_t bytes) { *facts.progress.out_bytes += bytes; }
  void read(Bytes bytes) { *facts.progress.io_bytes += bytes.count; }
  void have_context(Bytes memory, Instant now) {
    if (facts.context.listed == 0) facts.context.newest_listed = now;
    facts.context.listed = 1;
    facts.context.lost_alive = 0;
    facts.context.memory = memory;
    facts.context.ever = true;
  }
  void drop_context(bool holder_lives) {
    facts.context.listed = 0;
    facts.context.lost_alive = holder_lives ? 1 : 0;
    facts.context.memory = {};
    facts.gpu_percent = 0;
  }
};

using Second = std::function<void(Engine&, std::int64_t second, Instant now)>;

// Saturated day and night: its queue is never empty, every probe times out, some seconds go to the
// CPU alone; the gateway in front sees jobs far beyond the usual.
void vllm_like(Engine& engine, std::int64_t second, Instant) {
  auto& facts = engine.facts;
  facts.waiting = 40 + engine.below(20);
  facts.canary = CanaryFacts{0, 1000, 0, judged::kBegin};
  if (!facts.jobs) facts.jobs = JobFacts{};
  facts.jobs->in_flight = 200;
  facts.jobs->samples = 1000;
  facts.jobs->usual = seconds(20);
  facts.jobs->oldest = seconds(100 + engine.below(500));
  const bool prefill_on_cpu = second % 97 < 9;  // tokenizing one giant prompt
  facts.gpu_percent = prefill_on_cpu ? 0 : 60 + engine.below(40);
  engine.burn(prefill_on_cpu ? 1.0 : 0.3);
  if (!prefill_on_cpu) engine.send(4000);
}

// Films now and then, each with children that decode and infer in contexts of their own; empty
// nights; a CUDA out-of-memory now and then that the service survives.
void gradio_like(Engine& engine, std::int64_t second, Instant now) {
  auto& facts = engine.facts;
  const bool works = !Engine::is_night(second) && second % 30 < 8;
  facts.progress.processes = works ? 4 : 2;
  facts.waiting = works && second % 30 < 2 ? 1 : 0;
  facts.gpu_percent = works && second % 30 > 2 ? 80 : 0;
  engine.burn(works ? 0.9 : 0.01);
  if (second % 30 == 8) engine.send(3000);
  facts.context.listed = works ? 2 : 1;
  if (works) facts.context.newest_listed = now;
  if (second % 90000 == 300) facts.alarm = {LogAlarm::out_of_memory, now};
}

// A queue of jobs that run for many minutes with no client connected; models come from a slow disk;
// unloading gives memory back and keeps the context.
void comfyui_like(Engine& engine, std::int64_t second, Instant) {
  auto& facts = engine.facts;
  const auto at = second % 1800;
  const bool loads = at < 240;
  const bool works = at >= 240 && at < 1500;
  facts.waiting = at < 3 ? 1 : 0;
  facts.gpu_percent = works ? 100 : 0;
  if (loads) engine.read(30_MiB), engine.burn(0.02);
  if (works) engine.burn(0.5);
  if (at == 1500) engine.send(9'000'000);
}

// Under MPS its own rows come and go; the server's is what the driver lists.
void triton_mps_like(Engine& engine, std::int64_t second, Instant now) {
  auto& facts = engine.facts;
  facts.context.may_be_hidden = true;
  if (second % 600 < 300)
    engine.have_context(2_GiB, now);
  else
    engine.drop_context(true);
  facts.waiting = engine.below(3);
  facts.gpu_percent = std::nullopt;
  engine.burn(0.01);
}

// Starts without a context, gets one with its first film, gives all back when idle by ending its
// worker or by resetting its device, and sleeps whole nights. A worker once failed with a CUDA
// error and was replaced. The sentinel is away for some seconds each hour.
void whisper_like(Engine& engine, std::int64_t second, Instant now) {
  auto& facts = engine.facts;
  if (second == 0) facts.context = ContextFacts{};
  const auto at = second % 1200;
  const bool resets = second / 1200 % 2 == 0;  // or ends its worker
  const bool loads = at < 40;
  const bool works = at >= 40 && at < 300;
  facts.progress.processes = at < 600 || resets ? 3 : 2;
  facts.waiting = loads ? 1 : 0;
  facts.gpu_percent = works ? 70 : 0;
  if (loads) engine.read(50_MiB), engine.burn(0.03);
  if (works) engine.burn(0.6), engine.have_context(3_GiB, now);
  if (at == 300) engine.send(20000);
  if (at == 600 && !Engine::is_night(second)) engine.drop_context(resets);
  if (second == 1200 * 5 + 50) facts.alarm = {LogAlarm::cuda_error, now};
  if (second == 1200 * 5 + 52) engine.drop_context(false);
  if (second % 3600 == 100) facts.sight = CardSight::hung;
  if (second % 3600 == 130) facts.sight = CardSight::visible;
}

/// Lives through a month of @p engine's seconds. @return verdicts other than HEALTHY, and actions.
int wrong_verdicts(Engine& engine, const Second& live, VerdictMemory& memory, Instant& now) {
  int wrong = 0;
  for (std::int64_t second = 0; second < kMonth; ++second, now += seconds(1)) {
    live(engine, second, now);
    if (engine.facts.context.listed != 0) engine.facts.context.last_listed = now;
    const auto decision = decide(engine.facts, memory, now);
    const bool fine = decision.verdict == Verdict::healthy && decision.action == Action::none;
    if (!fine && ++wrong == 1)
      ADD_FAILURE() << "second " << second << ": " << to_string(decision.verdict) << ", "
                    << to_string(decision.action) << ", because " << decision.reasons;
  }
  return wrong;
}

void live_a_month(const Second& live, Verdict at_the_end) {
  Engine engine;
  VerdictMemory memory;
  Instant now = judged::kBegin;
  EXPECT_EQ(wrong_verdicts(engine, live, memory, now), 0);
  // It can fail: a context that dies is found.
  auto& facts = engine.facts;
  facts.sight = CardSight::visible;
  engine.have_context(1_GiB, now - seconds(10));
  facts.context.last_listed = now;
  facts.gpu_percent = 0;
  XidFact xid;
  xid.number = 31;
  xid.pid = Pid{4711};
  xid.at = now;
  xid.poisons = true;
  xid.began = facts.since;
  facts.xids.push_back(xid);
  EXPECT_EQ(decide(facts, memory, now).verdict, at_the_end);
}

TEST(JudgementMonth, AnEngineLikeVllmAtSaturation) {
  live_a_month(vllm_like, Verdict::ghost_sticky);
}
TEST(JudgementMonth, AnAppLikeGradioWithChildren) {
  live_a_month(gradio_like, Verdict::ghost_sticky);
}
TEST(JudgementMonth, AQueueLikeComfyUi) {
  live_a_month(comfyui_like, Verdict::ghost_sticky);
}
TEST(JudgementMonth, AServerLikeTritonUnderMps) {
  live_a_month(triton_mps_like, Verdict::ghost_sticky);
}
TEST(JudgementMonth, ALazyStarterLikeWhisperThatSleepsAtNight) {
  live_a_month(whisper_like, Verdict::ghost_sticky);
}

}  // namespace
}  // namespace gpuward
