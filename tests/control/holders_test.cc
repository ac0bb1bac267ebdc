#include "control/holders.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <gtest/gtest.h>
#include <memory>

#include "control/observe.h"
#include "os/clock.h"
#include "os/proc_fs.h"

namespace gpuward::control {
namespace {

using std::chrono::seconds;

/// A real process that waits, as do its @p children; all end with it.
class Idler {
 public:
  explicit Idler(int children) {
    int pipe[2];
    EXPECT_EQ(::pipe(pipe), 0);
    pid_ = Pid{::fork()};
    if (pid_.number == 0) {
      for (int n = 0; n < children; ++n)
        if (::fork() == 0) {
          ::prctl(PR_SET_PDEATHSIG, SIGKILL);
          for (;;) ::pause();
        }
      (void)!::write(pipe[1], "x", 1);
      for (;;) ::pause();
    }
    char byte = 0;
    EXPECT_EQ(::read(pipe[0], &byte, 1), 1);
    ::close(pipe[0]), ::close(pipe[1]);
  }
  Idler(const Idler&) = delete;
  Idler& operator=(const Idler&) = delete;
  ~Idler() {
    ::kill(pid_.number, SIGKILL);
    ::waitpid(pid_.number, nullptr, 0);
  }
  ProcessId id() const { return {pid_, os::read_stat(pid_)->start_ticks}; }

 private:
  Pid pid_;
};

GpuSnapshot card_of(const std::vector<ProcessId>& holders) {
  GpuSnapshot snapshot;
  snapshot.sight = GpuSight::visible;
  snapshot.pids_are_ours = true;
  GpuDevice device;
  device.uuid = "GPU-1";
  device.processes_visible = true;
  for (const auto& id : holders) {
    GpuProcess row;
    row.pid = static_cast<std::uint32_t>(id.pid.number);
    row.start_ticks = id.start_ticks;
    row.memory = 1_GiB;
    row.sm_percent = 0U;
    device.processes.push_back(row);
  }
  snapshot.devices.push_back(std::move(device));
  return snapshot;
}

// A service that has been READY for 100 s; nobody is connected to port 1.
KnownTrees tree_of(const std::vector<ProcessId>& members) {
  KnownTree tree;
  tree.folder.service = "engine";
  tree.state.phase = Phase::ready;
  tree.state.since_ns = (os::now() - seconds(100)).time_since_epoch().count();
  tree.state.main = {Pid{::getpid()}, os::read_stat(Pid{::getpid()})->start_ticks};
  tree.led = tree.tells_ready = true;
  tree.port = 1;
  tree.idle_limit = seconds(10);
  for (const auto& id : members) tree.pids.insert(static_cast<std::uint32_t>(id.pid.number));
  return KnownTrees({tree});
}

/// What each is after a minute of looks, one a second.
std::vector<HolderVerdict> after_a_minute(HolderSurvey& survey, const GpuSnapshot& card,
                                          const KnownTrees& trees, Instant now) {
  for (int n = 0; n < 60; ++n) (void)survey.see(card, trees, now += seconds(1));
  std::vector<HolderVerdict> verdicts;
  for (const auto& holder : survey.report(card, trees, now).list)
    verdicts.push_back(holder.verdict);
  return verdicts;
}

TEST(HolderSurvey, WhoIsIdleSinceItsBirthIsACandidateUnlessItsChildrenAreTooManyToBeSeen) {
  for (const auto& [children, verdict] :
       {std::pair(3, HolderVerdict::idle_holder), std::pair(80, HolderVerdict::owned)}) {
    const Idler idler(children);
    HolderSurvey survey;
    const Instant now = os::now();
    const auto trees = tree_of({idler.id()});
    (void)survey.see(card_of({}), trees, now);
    EXPECT_EQ(after_a_minute(survey, card_of({idler.id()}), trees, now), std::vector{verdict})
        << children;
  }
}

TEST(HolderSurvey, WhoWasThereBeforeAnybodyWatchedIsNoCandidate) {
  const Idler idler(0);
  HolderSurvey survey;
  const auto trees = tree_of({idler.id()});
  EXPECT_EQ(after_a_minute(survey, card_of({idler.id()}), trees, os::now()),
            std::vector{HolderVerdict::owned});
}

// More than are read by one look: each has its turn.
TEST(HolderSurvey, ManyHoldersAreAllReadInTheEnd) {
  std::vector<std::unique_ptr<Idler>> idlers;
  std::vector<ProcessId> ids;
  for (int n = 0; n < 150; ++n) {
    idlers.push_back(std::make_unique<Idler>(0));
    ids.push_back(idlers.back()->id());
  }
  HolderSurvey survey;
  const Instant now = os::now();
  const auto trees = tree_of(ids);
  (void)survey.see(card_of({}), trees, now);
  EXPECT_EQ(after_a_minute(survey, card_of(ids), trees, now),
            std::vector(ids.size(), HolderVerdict::idle_holder));
}

// What was handed over carries the mark of its tree, and so does what it has started since.
TEST(WasGivenUp, TheMarkAloneMakesNoOrphanOfAServiceThatHandedSomethingOver) {
  AnchorState state;
  const ProcessId self{Pid{::getpid()}, os::read_stat(Pid{::getpid()})->start_ticks};
  state.phase = Phase::stopped;
  EXPECT_FALSE(was_given_up(state, self, true)) << "nothing was handed over";
  state.has_released = true;
  EXPECT_TRUE(was_given_up(state, self, true));
  EXPECT_FALSE(was_given_up(state, self, false)) << "a cgroup or a record knows it as its own";
  state.phase = Phase::ready;
  EXPECT_FALSE(was_given_up(state, self, true)) << "the service runs";
}

}  // namespace
}  // namespace gpuward::control
