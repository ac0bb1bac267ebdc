#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "config/machine_check.h"
#include "text.h"

namespace gpuward::config {
namespace {

namespace fs = std::filesystem;

class Folder : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "config_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string write(const std::string& name, std::string_view text, mode_t mode = 0644) {
    const fs::path path = root_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path.string();
  }

  // The problems without the random folder's name.
  Lines shown(const std::vector<Problem>& problems) const {
    Lines out = heads(problems);
    for (std::string& line : out)
      for (std::size_t at; (at = line.find(root_.string())) != std::string::npos;)
        line.replace(at, root_.string().size(), "ROOT");
    return out;
  }

  Lines machine(const std::string& keys) const {
    const std::string text = "[service.a]\n" + keys;
    const Parsed parsed = parse_text(text, {}, root_.string());
    EXPECT_EQ(heads(parsed.problems), Lines{});
    return shown(check_machine(parsed, {path_, root_.string()}));
  }

  fs::path root_;
  std::string path_ = "/usr/bin:/bin";
};

using LoadFolder = Folder;
using Machine = Folder;

TEST_F(LoadFolder, TakesTomlFilesInNameOrder) {
  write("etc/b.toml", "[service.b]\ncommand = [\"x\"]\ndirectory = \"app\"\n");
  write("etc/a.toml", "[service.a]\ncommand = [\"x\"]\n");
  write("etc/.#a.toml", "broken");
  write("etc/notes.txt", "broken");
  const Parsed parsed = load_folder(root_ / "etc");
  EXPECT_EQ(shown(parsed.problems), Lines{});
  ASSERT_EQ(parsed.services.size(), 2U);
  EXPECT_EQ(parsed.services[0].name, "a");
  EXPECT_EQ(parsed.services[1].directory, (root_ / "etc/app").string());
}

TEST_F(LoadFolder, ANameDefinedTwiceNamesBothPlaces) {
  write("etc/a.toml", "[service.web]\ncommand = [\"x\"]\n");
  write("etc/b.toml", "# second\n[service.web]\ncommand = [\"y\"]\n");
  const Parsed parsed = load_folder(root_ / "etc");
  EXPECT_EQ(shown(parsed.problems),
            Lines{"ROOT/etc/b.toml:2:10: service 'web' is already defined at "
                  "ROOT/etc/a.toml:1:10, expected another name"});
  ASSERT_EQ(parsed.services.size(), 1U);
  EXPECT_EQ(parsed.services[0].command[0], "x");
}

TEST_F(LoadFolder, WhatOnlyOneCanHaveIsToldAtTheSecond) {
  write("etc/a.toml",
        "[service.a]\ncommand = [\"x\"]\npid_file = \"/run/p\"\nready = { tcp = \"127.0.0.1:80\" "
        "}\n");
  write("etc/b.toml",
        "[service.b]\ncommand = [\"x\"]\nready = { http = \"127.0.0.1:80/\" }\npid_file = "
        "\"/run/p\"\n");
  const Parsed parsed = load_folder(root_ / "etc");
  EXPECT_EQ(shown(parsed.problems),
            (Lines{"ROOT/etc/b.toml:3:18: 'ready.http' names '127.0.0.1:80' as service 'a' does at "
                   "ROOT/etc/a.toml:4:17, expected one of its own",
                   "ROOT/etc/b.toml:4:12: 'pid_file' names '/run/p' as service 'a' does at "
                   "ROOT/etc/a.toml:3:12, expected one of its own"}));
  ASSERT_EQ(parsed.services.size(), 1U);
  EXPECT_EQ(parsed.broken.size(), 1U);
}

TEST_F(LoadFolder, ASyntaxErrorInOneFileLeavesTheOthers) {
  write("etc/a.toml", "[service.a\n");
  write("etc/b.toml", "[service.b]\ncommand = [\"x\"]\n");
  const Parsed parsed = load_folder(root_ / "etc");
  EXPECT_EQ(parsed.problems.size(), 1U);
  EXPECT_EQ(parsed.services.size(), 1U);
}

TEST_F(LoadFolder, MissingFoldersAndFilesAreProblems) {
  EXPECT_EQ(shown(load_folder(root_ / "none").problems),
            Lines{"ROOT/none: cannot read the folder: No such file or directory"});
  const std::vector<fs::path> paths = {root_ / "none.toml", root_};
  EXPECT_EQ(shown(load_files(paths).problems),
            (Lines{"ROOT/none.toml: cannot read: No such file or directory",
                   "ROOT: cannot read: Is a directory"}));
}

TEST_F(LoadFolder, FilesBeyondOneMebibyteAreRefused) {
  write("big.toml", std::string((1 << 20) + 1, '#'));
  const std::vector<fs::path> paths = {root_ / "big.toml"};
  EXPECT_EQ(shown(load_files(paths).problems), Lines{"ROOT/big.toml: cannot read: File too large"});
}

TEST_F(LoadFolder, ProblemsOfASharedEnvFileAreToldOnce) {
  write("etc/.env", "nonsense\n");
  write("etc/a.toml",
        "[service.a]\ncommand=[\"x\"]\nenv_file=\".env\"\n[service.b]\ncommand=[\"x\"]\nenv_file="
        "\".env\"\n");
  write("etc/b.toml", "zebra = 1\n");
  EXPECT_EQ(shown(load_folder(root_ / "etc").problems),
            (Lines{"ROOT/etc/.env:1:1: no '=' on this line, expected NAME=VALUE",
                   "ROOT/etc/b.toml:1:1: unknown key 'zebra' at the top level, expected "
                   "[service.NAME], [reap], [ledger] or [host]"}));
}

TEST_F(Machine, AServiceThatFitsHasNoProblem) {
  write("app/srv", "#!/bin/sh\n", 0755);
  write("app/.venv/bin/python", "", 0755);
  EXPECT_EQ(machine("command = [\"./srv\"]\ndirectory = \"app\"\nvenv = \".venv\"\n"
                    "pid_file = \"srv.pid\"\n"),
            Lines{});
  EXPECT_EQ(machine("command = [\"sh\"]\n"), Lines{});
}

TEST_F(Machine, EveryMissingThingIsToldAtItsKey) {
  EXPECT_EQ(machine("command = [\"nothing-like-it\"]\ndirectory = \"/none\"\nvenv = \"/none/v\"\n"
                    "pid_file = \"/none/x.pid\"\n"),
            (Lines{"2:12: program 'nothing-like-it' is not found, expected a program in bin/ of "
                   "'venv' or in PATH",
                   "3:13: 'directory' does not exist, expected a folder at '/none'",
                   "4:8: 'venv' has neither bin/python nor bin/activate, expected the prefix of a "
                   "conda or venv environment",
                   "5:12: the folder of 'pid_file' does not exist, expected a folder at '/none'"}));
}

TEST_F(Machine, FilesInPlaceOfFoldersAndBack) {
  write("file", "");
  fs::create_directories(root_ / "folder");
  EXPECT_EQ(machine("command = [\"sh\"]\ndirectory = \"" + root_.string() +
                    "/file\"\npid_file = \"" + root_.string() + "/folder\"\n"),
            (Lines{"3:13: 'directory' is not a folder, expected a folder at 'ROOT/file'",
                   "4:12: 'pid_file' is a folder, expected the name of a file"}));
}

TEST_F(Machine, ProgramsAreFoundAsExecWould) {
  write("bin/tool", "", 0755);
  write("venv/bin/tool", "", 0755);
  write("venv/bin/python", "", 0755);
  write("plain", "");
  path_ = (root_ / "bin").string();
  ServiceModel service;
  service.command = {"tool"};
  const Surroundings here{path_, root_.string()};
  EXPECT_EQ(find_program(service, here).value(), (root_ / "bin/tool").string());
  service.venv = (root_ / "venv").string();
  EXPECT_EQ(find_program(service, here).value(), (root_ / "venv/bin/tool").string());
  service.venv.clear();
  service.env = {{"PATH", "/nowhere"}};
  EXPECT_EQ(find_program(service, here).error().code.value(), ENOENT);

  EXPECT_EQ(machine("command = [\"./plain\"]\n"),
            Lines{"2:12: program './plain' is not executable, expected an executable file"});
  EXPECT_EQ(machine("command = [\"./gone\"]\n"),
            Lines{"2:12: program './gone' is not found, expected a file at 'ROOT/./gone'"});
  EXPECT_EQ(machine("command = [\"tool --fast\"]\n"),
            Lines{"2:12: program 'tool --fast' is not found, expected a program in PATH; each word "
                  "is an item of its own"});
}

TEST_F(Machine, BrokenServicesAreLookedAtWithoutRepeating) {
  const std::string text =
      "[service.a]\ncommand = [\"sh\"]\nzebra = 1\ndirectory = \"/none\"\nenv_file = \"/gone\"\n";
  const Parsed parsed = parse_text(text);
  EXPECT_EQ(parsed.problems.size(), 2U);
  EXPECT_EQ(shown(check_machine(parsed, {path_, "/"})),
            Lines{"4:13: 'directory' does not exist, expected a folder at '/none'"});
}

TEST_F(Machine, AFolderThatCannotBeWrittenIsTold) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  fs::create_directories(root_ / "closed");
  ::chmod((root_ / "closed").c_str(), 0555);
  EXPECT_EQ(
      machine("command = [\"sh\"]\npid_file = \"" + root_.string() + "/closed/p\"\n"),
      Lines{"3:12: the folder of 'pid_file' cannot be written, expected a folder of your own"});
}

}  // namespace
}  // namespace gpuward::config
