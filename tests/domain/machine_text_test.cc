#include "domain/machine_text.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

TEST(MachineText, SwapsAreReadInBytes) {
  const auto areas = parse_swaps(
      "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
      "/dev/sda2                               partition\t8388604\t\t1024\t\t-2\n"
      "/swap\\040file                          file\t\t1024\t0\t-3\n"
      "/dev/zram0 partition 2048 0 100\n"
      "/dev/sdb2 partition many 0 1\n\n");
  ASSERT_EQ(areas.size(), 3U);
  EXPECT_EQ(areas[0].name, "/dev/sda2");
  EXPECT_EQ(areas[0].size, Bytes{8388604ULL << 10});
  EXPECT_EQ(areas[0].used, 1_MiB);
  EXPECT_EQ(areas[1].name, "/swap\\040file");
  EXPECT_FALSE(areas[1].in_memory());
  EXPECT_TRUE(areas[2].in_memory());
  EXPECT_TRUE(parse_swaps("").empty());
}

std::string joined(const std::vector<AptSetting>& settings) {
  std::string text;
  for (const auto& [name, value] : settings) text += name + "=" + value + "|";
  return text;
}

TEST(MachineText, AptSettingsAreReadInEveryForm) {
  EXPECT_EQ(joined(parse_apt_conf("APT::Periodic::Unattended-Upgrade \"1\";\n")),
            "apt::periodic::unattended-upgrade=1|");
  EXPECT_EQ(joined(parse_apt_conf("APT { Periodic { Unattended-Upgrade 1; }; };")),
            "apt::periodic::unattended-upgrade=1|");
  EXPECT_EQ(joined(parse_apt_conf("// \"no\";\n# \"no\";\n/* \"no\"; */\n"
                                  "Unattended-Upgrade::Package-Blacklist {\n"
                                  "  \"nvidia-\"; // the driver\n  \"libc6$\";\n};\n"
                                  "A::B:: \"x\";")),
            "unattended-upgrade::package-blacklist::=nvidia-|"
            "unattended-upgrade::package-blacklist::=libc6$|a::b::=x|");
}

TEST(MachineText, BrokenAptSettingsEnd) {
  for (const char* text : {"\"", "{", "}", "}}};", "/*", "a { \"b", "a \"b\"", ";;;", "\"x\" {"})
    EXPECT_LE(parse_apt_conf(text).size(), 1U) << text;
  EXPECT_TRUE(parse_apt_conf(std::string(100, '{') + "a 1;").empty()) << "too deep";
}

TEST(MachineText, PackagesOfTheDriverAreFoundWithTheirHold) {
  const auto packages = parse_driver_packages(
      "Package: nvidia-driver-570\nStatus: install ok installed\nVersion: 1\n\n"
      "Package: libnvidia-compute-570\nStatus: hold ok installed\n\n"
      "Package: nvidia-driver-535\nStatus: deinstall ok config-files\n\n"
      "Package: nvidia-container-toolkit\nStatus: install ok installed\n\n"
      "Package: bash\nStatus: install ok installed\n");
  ASSERT_EQ(packages.size(), 2U);
  EXPECT_EQ(packages[0].name, "nvidia-driver-570");
  EXPECT_FALSE(packages[0].held);
  EXPECT_EQ(packages[1].name, "libnvidia-compute-570");
  EXPECT_TRUE(packages[1].held);
}

TEST(MachineText, ABlacklistMatchesFromTheBeginning) {
  const std::vector<std::string> list = {"nvidia-", "^libnvidia-.*", "cuda-drivers$"};
  EXPECT_TRUE(is_blacklisted("nvidia-driver-570", list));
  EXPECT_TRUE(is_blacklisted("libnvidia-ml1", list));
  EXPECT_TRUE(is_blacklisted("cuda-drivers", list));
  EXPECT_FALSE(is_blacklisted("cuda-drivers-570", list));
  EXPECT_FALSE(is_blacklisted("linux-modules-nvidia-570", list));
  EXPECT_FALSE(is_blacklisted("nvidia-driver-570", {}));
}

TEST(MachineText, TheLastValueOfAnIniFileHolds) {
  const char* text = "[commands]\n# apply_updates = yes\napply_updates = no\n apply_updates=yes \n";
  EXPECT_EQ(ini_value(text, "apply_updates"), "yes");
  EXPECT_EQ(ini_value(text, "apply"), std::nullopt);
  EXPECT_EQ(ini_value("a=b=c", "a"), "b=c");
}

TEST(MachineText, VersionsAreFoundAmongOtherWords) {
  EXPECT_EQ(version_in("570.86.10"), "570.86.10");
  EXPECT_EQ(version_in("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n"
                       "GCC version:  gcc version 12.2.0\n"),
            "535.183.01");
  EXPECT_EQ(version_in("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.45.04  "
                       "Release Build"),
            "595.45.04");
  EXPECT_EQ(version_in("1"), "");
  EXPECT_EQ(version_in(""), "");
}

}  // namespace
}  // namespace gpuward
