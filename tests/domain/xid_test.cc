#include "domain/xid.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

XidLine xid_of(std::string_view text) {
  const auto line = parse_card_line(text);
  const auto* xid = std::get_if<XidLine>(&line);
  EXPECT_NE(xid, nullptr) << text;
  return xid == nullptr ? XidLine{} : *xid;
}

bool is_nothing(std::string_view text) {
  return std::holds_alternative<std::monostate>(parse_card_line(text));
}

TEST(PciAddress, IsReadInEveryShapeThatIsWritten) {
  const PciAddress card{0, 0x61, 0};
  for (const auto* text : {"0000:61:00", "00000000:61:00.0", "PCI:0000:61:00", "0000:61:00.0"})
    EXPECT_EQ(parse_pci(text), card) << text;
  EXPECT_EQ(parse_pci("0001:C8:1f"), (PciAddress{1, 0xc8, 31}));
  EXPECT_EQ(to_string(card), "0000:61:00");
  EXPECT_EQ(to_string(PciAddress{0x10000, 0xc8, 31}), "00010000:c8:1f");
  for (const auto* text : {"", "61:00", "0000:61", "0000:61:20", "0000:61:00x", "0000:6:00",
                           "0000:61:00.", "000000000:61:00", " 0000:61:00", "0000:61:00.0 "})
    EXPECT_FALSE(parse_pci(text)) << text;
}

TEST(XidLine, TheShapeOfToday) {
  const std::string_view text =
      "NVRM: Xid (PCI:0000:61:00): 45, pid=1496200, name=python, Ch 0000000a";
  const auto xid = xid_of(text);
  EXPECT_EQ(xid.card, (PciAddress{0, 0x61, 0}));
  EXPECT_EQ(xid.number, 45U);
  EXPECT_EQ(xid.pid, 1496200U);
  EXPECT_EQ(xid.process.view(), "python");
  EXPECT_EQ(text.substr(xid.rest), "Ch 0000000a");
  EXPECT_FALSE(xid.caused_by);
}

TEST(XidLine, WithoutAKnownProcess) {
  for (const auto* text :
       {"NVRM: Xid (PCI:0000:CB:00): 13, pid='<unknown>', name=<unknown>, Graphics Exception",
        "NVRM: Xid (PCI:0000:cb:00): 13, pid=<unknown>, name='<unknown>', Graphics Exception",
        "NVRM: Xid (PCI:0000:cb:00): 13, pid=0, name=, Graphics Exception",
        "NVRM: Xid (PCI:0000:cb:00): 13, Graphics Exception",
        "NVRM: Xid (0000:cb:00): 13, Graphics Exception"}) {
    const auto xid = xid_of(text);
    EXPECT_EQ(xid.card, (PciAddress{0, 0xcb, 0})) << text;
    EXPECT_EQ(xid.number, 13U) << text;
    EXPECT_FALSE(xid.pid) << text;
    EXPECT_TRUE(xid.process.empty()) << text;
    EXPECT_EQ(std::string_view(text).substr(xid.rest), "Graphics Exception") << text;
  }
}

TEST(XidLine, QuotedPidAndNoNameOfAnOlderDriver) {
  EXPECT_EQ(xid_of("NVRM: Xid (PCI:0000:01:00): 31, pid='77', name=x, Ch 1").pid, 77U);
  const auto old = xid_of("NVRM: Xid (PCI:0000:01:00): 31, pid=77, Ch 00000008");
  EXPECT_EQ(old.pid, 77U);
  EXPECT_TRUE(old.process.empty());
}

TEST(XidLine, OfAPartitionedCard) {
  EXPECT_EQ(xid_of("NVRM: Xid (PCI:0000:4E:00 GPU-I:05): 45, pid=9, name=a, Ch 1").instance, 5U);
  EXPECT_EQ(xid_of("NVRM: Xid (PCI:0000:4E:00 GPU-I:05 GPU-CI:00): 45, pid=9").instance, 5U);
  EXPECT_FALSE(xid_of("NVRM: Xid (PCI:0000:4E:00): 45, pid=9").instance);
}

TEST(XidLine, NamesItsCauseAndTheAdvice) {
  EXPECT_EQ(xid_of("NVRM: Xid (PCI:0000:dc:00): 45, pid=1818990, name=python3, Ch 00000001 caused "
                   "by previous Xid 149")
                .caused_by,
            149U);
  const auto advice = xid_of(
      "NVRM: Xid (PCI:0000:41:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 (Node "
      "Reboot Required)");
  EXPECT_EQ(advice.recovery, 2U);
  EXPECT_FALSE(xid_of("NVRM: Xid (PCI:0000:41:00): 13, a to 0x2 b").recovery);
}

TEST(XidLine, OfTheSystemProcessor) {
  const auto xid = xid_of(
      "NVRM: Xid (PCI:0002:00:00): 119, pid=1582259, name=nvc:[driver], Timeout after 6s of "
      "waiting "
      "for RPC response from GPU1 GSP! Expected function 76");
  EXPECT_EQ(xid.number, 119U);
  EXPECT_EQ(xid.process.view(), "nvc:[driver]");
  EXPECT_EQ(xid_of("NVRM: Xid (PCI:0000:01:00): 79").number, 79U);
}

TEST(XidLine, ANameIsCutAndMadeSafe) {
  const auto xid = xid_of("NVRM: Xid (PCI:0000:01:00): 13, pid=9, name=a\x1b[2J\tb\xff" +
                          std::string(100, 'n') + ", Ch 1");
  EXPECT_TRUE(xid.process.view().starts_with("a?[2J b?n")) << xid.process.view();
  EXPECT_TRUE(xid.process.cut());
  EXPECT_LE(xid.process.size(), 32U);
}

TEST(XidLine, ANumberThatCannotBeAPidIsNone) {
  EXPECT_FALSE(xid_of("NVRM: Xid (PCI:0000:01:00): 13, pid=4194305, name=x").pid);
  EXPECT_FALSE(xid_of("NVRM: Xid (PCI:0000:01:00): 13, pid=99999999999999999999, name=x").pid);
  EXPECT_FALSE(xid_of("NVRM: Xid (PCI:0000:01:00): 13, pid=-1, name=x").pid);
}

// A file's or a process's name may stand in a line of the kernel: only what begins as the driver's
// lines do is one.
TEST(XidLine, WhatOthersSayIsNothing) {
  for (const auto* text :
       {"", "NVRM", "NVRM: ", "NVRM: loading NVIDIA UNIX x86_64 Kernel Module",
        "process '/tmp/NVRM: Xid (PCI:0000:01:00): 79' started with executable stack",
        " NVRM: Xid (PCI:0000:01:00): 79", "NVRM: Xid (PCI:0000:01:00) 79",
        "NVRM: Xid (PCI:0000:01:00): x", "NVRM: Xid (PCI:0000:01:00): 79x",
        "NVRM: Xid (PCI:0000:01:00): 123456", "NVRM: Xid (PCI:0000:01): 79",
        "NVRM: Xid (PCI:0000:01:00", "nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 12028, Non-fatal",
        "NVRM: Xid (what): fallen off the bus"})
    EXPECT_TRUE(is_nothing(text)) << text;
}

TEST(OffBus, InWords) {
  const auto card_in = [](std::string_view text) {
    const auto line = parse_card_line(text);
    const auto* words = std::get_if<OffBusLine>(&line);
    EXPECT_NE(words, nullptr) << text;
    return words == nullptr ? std::nullopt : words->card;
  };
  EXPECT_EQ(card_in("NVRM: GPU 0000:b3:00.0: GPU has fallen off the bus."),
            (PciAddress{0, 0xb3, 0}));
  EXPECT_EQ(
      card_in("NVRM: The NVIDIA GPU 0000:b3:00.0\nNVRM: (PCI ID: 10de:26b5) installed in this "
              "system has\nNVRM: fallen off the bus and is not responding to commands."),
      (PciAddress{0, 0xb3, 0}));
  EXPECT_EQ(card_in("NVRM: fallen off the bus and is not responding to commands."), std::nullopt);
  EXPECT_TRUE(is_nothing("python[1]: fallen off the bus"));
  EXPECT_EQ(announced_card("NVRM: The NVIDIA GPU 0000:b3:00.0"), (PciAddress{0, 0xb3, 0}));
  EXPECT_FALSE(announced_card("NVRM: (PCI ID: 10de:26b5) installed in this system has"));
}

TEST(OffBus, WithItsNumberItIsAnXid) {
  EXPECT_EQ(
      xid_of("NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen "
             "off the bus.")
          .number,
      79U);
}

TEST(CardName, IsTakenOnlyWhole) {
  const std::string uuid = "GPU-95d4eaef-812a-5157-fec0-7d64667313dc";
  const auto line = parse_card_line("NVRM: GPU at PCI:0000:c5:00: " + uuid);
  const auto* named = std::get_if<CardNameLine>(&line);
  ASSERT_NE(named, nullptr);
  EXPECT_EQ(named->uuid.view(), uuid);
  EXPECT_EQ(named->card, (PciAddress{0, 0xc5, 0}));
  EXPECT_TRUE(is_nothing("NVRM: GPU at PCI:0000:c5:00: " + uuid + "x"));
  EXPECT_TRUE(is_nothing("NVRM: GPU at PCI:0000:c5:00: GPU-95d4"));
}

TEST(KernelMessage, IsWhatStandsBehindTheLogDaemonsWords) {
  const std::string said = "NVRM: Xid (PCI:0000:01:00): 79";
  for (const auto& line :
       {said, "[ 1843.308145] " + said, "Feb 14 05:03:41 host kernel: " + said,
        "2026-02-14T05:03:41.1+00:00 host kernel: [1843.3] " + said, "kernel: " + said})
    EXPECT_EQ(kernel_message(line), said) << line;
  // Another program's words.
  const std::string other = "Feb 14 05:03:41 host app[7]: kernel: " + said;
  EXPECT_EQ(kernel_message(other), other);
  EXPECT_EQ(kernel_message("[app] " + said), "[app] " + said);
}

}  // namespace
}  // namespace gpuward
