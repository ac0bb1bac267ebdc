#include "domain/stranger.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

StrangerFacts facts() {
  StrangerFacts it;
  it.pid = Pid{4711};
  it.command = "python app.py";
  return it;
}

TEST(Stranger, IsEndedOnlyWhereNothingSpeaksAgainstIt) {
  EXPECT_EQ(why_not_ended(facts()), "");
  struct Row {
    void (*change)(StrangerFacts&);
    const char* why;
  };
  for (const Row& row : {
           Row{[](StrangerFacts& f) { f.pid = Pid{1}; },
               "pid 1 (python app.py) is the first process of this system"},
           {[](StrangerFacts& f) { f.kernel_thread = true; },
            "pid 4711 (python app.py) is a part of the kernel"},
           {[](StrangerFacts& f) { f.role = StrangerRole::manager; },
            "pid 4711 (python app.py) is a service manager: stop the unit that listens there"},
           {[](StrangerFacts& f) { f.role = StrangerRole::door; },
            "pid 4711 (python app.py) is what people come into this system through: end it by "
            "hand, if you must"},
           {[](StrangerFacts& f) { f.our_ancestor = true; },
            "pid 4711 (python app.py) is what this command was started from"},
           {[](StrangerFacts& f) { f.owner = "service 'db' of gpuward"; },
            "pid 4711 (python app.py) belongs to service 'db' of gpuward"},
           {[](StrangerFacts& f) { f.container = "docker"; },
            "pid 4711 (python app.py) runs in a container (docker): end it through its engine"},
           {[](StrangerFacts& f) { f.may_signal = false; },
            "pid 4711 (python app.py) may not be signalled by you: it is another user's"},
           {[](StrangerFacts& f) { f.seen = false; },
            "pid 4711 (python app.py) cannot be looked into by you"},
           {[](StrangerFacts& f) { f.same_pid_namespace = false; },
            "pid 4711 (python app.py) runs in another PID namespace, perhaps a container: end it "
            "from there"},
       }) {
    auto changed = facts();
    row.change(changed);
    EXPECT_EQ(why_not_ended(changed), row.why);
  }
}

TEST(StrangerRole, IsKnownByName) {
  for (const char* name : {"systemd", "init"}) EXPECT_EQ(role_of(name), StrangerRole::manager);
  for (const char* name : {"sshd", "sshd-session", "dropbear"})
    EXPECT_EQ(role_of(name), StrangerRole::door) << name;
  for (const char* name : {"", "python3", "systemd-helper", "sshdx", "initial"})
    EXPECT_EQ(role_of(name), StrangerRole::any) << name;
}

TEST(ContainerIn, KnowsTheEnginesByTheirGroups) {
  const char* host = "0::/user.slice/user-0.slice/session-3.scope\n";
  EXPECT_EQ(container_in("0::/system.slice/docker-0123.scope\n", host), "docker");
  EXPECT_EQ(container_in("4:memory:/docker/0123\n0::/\n", "4:memory:/user\n0::/user\n"), "docker");
  EXPECT_EQ(container_in("0::/machine.slice/libpod-0123.scope/container\n", host), "libpod");
  EXPECT_EQ(container_in("0::/kubepods.slice/pod1\n", host), "kubepods");
  EXPECT_EQ(container_in("0::/system.slice/docker.service\n", host), "docker")
      << "its proxy holds the ports of containers";
  EXPECT_EQ(container_in(host, host), "");
  EXPECT_EQ(container_in("0::/user.slice/user-0.slice/session-4.scope\n", host), "");
  EXPECT_EQ(container_in("", host), "");
  EXPECT_EQ(container_in("rubbish\n::\n0::", host), "");
}

TEST(ContainerIn, TheOneWeRunInOurselvesIsNotMeant) {
  const char* ours = "4:memory:/docker/0123/a\n0::/docker/0123\n";
  EXPECT_EQ(container_in("4:memory:/docker/0123/b\n0::/docker/0123/c\n", ours), "");
  EXPECT_EQ(container_in("4:memory:/docker/0123\n0::/docker/0123\n", ours), "");
  EXPECT_EQ(container_in("0::/docker/01234\n", ours), "") << "a brother of ours, seen from inside";
  EXPECT_EQ(container_in("0::/docker/0123/docker/9\n", ours), "docker");
}

TEST(UnitIn, IsTheInnermostServiceThatIsNotOurs) {
  const char* ours = "0::/user.slice/user-0.slice/session-3.scope\n";
  EXPECT_EQ(unit_in("0::/system.slice/old.service/worker\n", ours), "old.service");
  EXPECT_EQ(unit_in("0::/user.slice/user@0.service/app.slice/web.service\n", ours), "web.service");
  EXPECT_EQ(unit_in("0::/user.slice/user@0.service/init.scope\n", ours), "");
  EXPECT_EQ(unit_in("0::/system.slice/ssh.service\n", "0::/system.slice/ssh.service\n"), "");
  EXPECT_EQ(unit_in("", ours), "");
}

}  // namespace
}  // namespace gpuward
