#include "os/private_folder.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>

#include "child.h"

namespace gpuward::os {
namespace {

namespace fs = std::filesystem;

mode_t mode_of(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

class PrivateFolder : public testing::Test {
 protected:
  std::string parent() const { return root_.path() + "/temp"; }
  std::string path() const { return parent() + "/app.0"; }
  Fd make() const {
    auto made = make_private_folder(path(), ::geteuid(), ::getegid());
    EXPECT_TRUE(made) << made.error().message();
    return made ? std::move(*made) : Fd();
  }
  static void touch(const std::string& file) { std::ofstream(file) << "x"; }

  TempFolder root_;
};

// In a mount namespace of its own, which ends with the child. 77: no right to mount.
TEST_F(PrivateFolder, WhatIsMountedInItIsNotEmptiedAlthoughItIsOfTheSameFileSystem) {
  const std::string data = root_.path() + "/models";
  ASSERT_TRUE(fs::create_directory(data));
  touch(data + "/weights");
  const Fd folder = make();
  ASSERT_TRUE(fs::create_directory(path() + "/m"));
  touch(path() + "/left");
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount(data.c_str(), (path() + "/m").c_str(), nullptr, MS_BIND, nullptr) != 0)
      ::_exit(77);
    // Opened anew: a folder of the mount namespace that was left knows nothing of the mount.
    const auto inside = Fd::open(path(), O_RDONLY | O_DIRECTORY);
    ::_exit(inside && !empty_folder(*inside) ? 0 : 1);  // what stays is an error that is told
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "no right to mount";
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(fs::exists(data + "/weights"));
  EXPECT_FALSE(fs::exists(path() + "/left"));
}

TEST_F(PrivateFolder, IsClosedToOthersWhateverTheUmask) {
  const mode_t before = ::umask(0077);
  make();
  ::umask(0);
  make();
  ::umask(before);
  EXPECT_EQ(mode_of(path()), 0700U);
  EXPECT_EQ(mode_of(parent()), 0711U);
}

TEST_F(PrivateFolder, IsGivenToItsUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_TRUE(make_private_folder(path(), 65534, 65534));
  struct stat info{};
  ASSERT_EQ(::stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 65534U);
  EXPECT_EQ(info.st_gid, 65534U);
}

TEST_F(PrivateFolder, IsNoLinkAndStandsInNobodyElsesFolder) {
  make();
  fs::remove(path());
  fs::create_symlink("/tmp", path());
  EXPECT_FALSE(make_private_folder(path(), ::geteuid(), ::getegid()));
  ASSERT_EQ(::chmod(parent().c_str(), 0777), 0);
  const auto refused = make_private_folder(parent() + "/b.0", ::geteuid(), ::getegid());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, make_error_code(Errc::refused));
}

TEST_F(PrivateFolder, IsEmptiedOfEverythingButNothingElse) {
  const Fd folder = make();
  touch(root_.path() + "/innocent");
  fs::create_symlink(root_.path(), path() + "/link");
  fs::create_directories(path() + "/a/b/c");
  for (int n = 0; n < 500; ++n) touch(path() + "/a/b/file" + std::to_string(n));
  touch(path() + "/.hidden");
  fs::create_directory(path() + "/closed");
  touch(path() + "/closed/file");
  ASSERT_EQ(::chmod((path() + "/closed").c_str(), 0), 0);
  const auto emptied = empty_folder(folder);
  EXPECT_TRUE(emptied) << emptied.error().message();
  EXPECT_TRUE(fs::is_empty(path()));
  EXPECT_TRUE(fs::exists(root_.path() + "/innocent"));
}

TEST_F(PrivateFolder, IsRemovedWithWhatIsInIt) {
  make();
  touch(path() + "/file");
  EXPECT_TRUE(remove_private_folder(path()));
  EXPECT_FALSE(fs::exists(path()));
  EXPECT_TRUE(remove_private_folder(path())) << "it is not there, which is what was wanted";
}

TEST_F(PrivateFolder, IsLaidAsideAndMadeAnew) {
  make();
  for (int n = 0; n < 2; ++n) {
    touch(path() + "/film");
    const auto laid = lay_aside(path(), ::geteuid(), ::getegid());
    ASSERT_TRUE(laid) << laid.error().message();
    EXPECT_TRUE(fs::is_empty(path()));
    EXPECT_EQ(mode_of(path()), 0700U);
    EXPECT_EQ(mode_of(path() + ".old"), 0700U);
  }
  EXPECT_FALSE(remove_aside(path())) << "it is not empty";
  auto aside = open_aside(path());
  ASSERT_TRUE(aside);
  EXPECT_TRUE(empty_folder(*aside));
  EXPECT_TRUE(remove_aside(path()));
  EXPECT_TRUE(remove_aside(path())) << "it is not there, which is what was wanted";
  EXPECT_EQ(open_aside(path()).error().code.value(), ENOENT);
}

TEST_F(PrivateFolder, IsRemovedWithWhatLiesAside) {
  make();
  touch(path() + "/film");
  ASSERT_TRUE(lay_aside(path(), ::geteuid(), ::getegid()));
  EXPECT_TRUE(remove_private_folder(path()));
  EXPECT_TRUE(fs::is_empty(parent()));
}

TEST_F(PrivateFolder, ANoteThatItIsKeptHoldsForOneBoot) {
  make();
  EXPECT_FALSE(is_kept(path(), "boot-one"));
  ASSERT_TRUE(keep_private_folder(path(), "boot-one"));
  ASSERT_TRUE(keep_private_folder(path(), "boot-one")) << "again";
  EXPECT_TRUE(is_kept(path(), "boot-one"));
  EXPECT_FALSE(is_kept(path(), "boot-two"));
  EXPECT_FALSE(fs::exists(path() + ".kept"));
}

TEST_F(PrivateFolder, ANoteThatCannotBeReadIsBelieved) {
  make();
  touch(path() + ".kept");  // cut short
  EXPECT_TRUE(is_kept(path(), "boot-one"));
  fs::remove(path() + ".kept");
  ASSERT_TRUE(fs::create_directory(path() + ".kept"));
  EXPECT_TRUE(is_kept(path(), "boot-one"));
  EXPECT_FALSE(keep_private_folder(path(), "boot-one"));
}

}  // namespace
}  // namespace gpuward::os
