#include "os/container.h"

#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <string>

namespace gpuward::os {
namespace {

const std::string kId(64, 'a');
const std::string kOther = std::string(63, 'a') + "b";

TEST(Container, TheGroupsOfEveryEngineAndDriverTellIt) {
  for (const std::string& line : {
           "0::/system.slice/docker-" + kId + ".scope\n",
           "0::/docker/" + kId + "\n",
           "0::/machine.slice/libpod-" + kId + ".scope/container\n",
           "0::/kubepods/burstable/pod1/cri-containerd-" + kId + ".scope\n",
           std::string("12:pids:/docker/").append(kId).append("\n11:memory:/docker/").append(kId) +
               "\n",
       }) {
    EXPECT_TRUE(find_container(line, kId)) << line;
    EXPECT_EQ(container_id_in(line), kId) << line;
    EXPECT_FALSE(find_container(line, kOther)) << line;
  }
  const std::string text = "5:pids:/docker/" + kId + "\n0::/docker/" + kId + "/init\n";
  const auto found = find_container(text, kId);
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->v2);
  EXPECT_EQ(found->path, "/docker/" + kId);
}

TEST(Container, AMonitorALongerNumberAndAPartOfItAreNotIt) {
  EXPECT_FALSE(find_container("0::/machine.slice/libpod-conmon-" + kId + ".scope\n", kId));
  EXPECT_FALSE(find_container("0::/docker/" + kId + "a\n", kId));
  EXPECT_FALSE(find_container("0::/docker/" + kId.substr(1) + "\n", kId.substr(1)));
  EXPECT_TRUE(container_id_in("0::/user.slice/session-1.scope\n").empty());
}

TEST(Container, TheInnermostIsNamed) {
  EXPECT_EQ(container_id_in("0::/docker/" + kOther + "/docker/" + kId + "\n"), kId);
}

class IdFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "gpuward.cid.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = folder_ + "/cid";
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::rmdir(folder_.c_str());
  }
  void write(const std::string& text) {
    auto file = Fd::open(path_, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ASSERT_TRUE(file);
    ASSERT_TRUE(write_all(*file, text, "the id"));
  }
  std::string folder_;
  std::string path_;
};

TEST_F(IdFile, OnlyAWholeIdIsRead) {
  EXPECT_TRUE(read_container_id(path_.c_str()).empty());
  for (const std::string& text : {std::string(), kId.substr(1), kId + "aa", std::string(64, 'g')}) {
    write(text);
    EXPECT_TRUE(read_container_id(path_.c_str()).empty()) << text;
  }
  write(kId + "\n");
  EXPECT_EQ(read_container_id(path_.c_str()).view(), kId);
}

TEST_F(IdFile, SomebodyElsesWordAFifoAndALinkAreNotBelieved) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_TRUE(read_container_id(path_.c_str()).empty());
  ::unlink(path_.c_str());
  ASSERT_EQ(::symlink("/proc/self/cgroup", path_.c_str()), 0);
  EXPECT_TRUE(read_container_id(path_.c_str()).empty());
  ::unlink(path_.c_str());
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to make a file of another user";
  write(kId);
  ASSERT_EQ(::chown(path_.c_str(), 65534, 65534), 0);
  EXPECT_TRUE(read_container_id(path_.c_str()).empty());
}

}  // namespace
}  // namespace gpuward::os
