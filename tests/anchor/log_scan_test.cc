#include "anchor/log_scan.h"

#include <gtest/gtest.h>
#include <string>

namespace gpuward::anchor {
namespace {

TEST(LogScan, FindsTheWantedTextWhereverItIsCut) {
  const std::string wanted = "Running on local URL";
  const std::string line = "INFO: " + wanted + ": http://127.0.0.1:7860\n";
  for (std::size_t cut = 0; cut <= line.size(); ++cut) {
    LogScan scan;
    scan.want(wanted);
    scan.feed(std::string_view(line).substr(0, cut));
    scan.feed(std::string_view(line).substr(cut));
    EXPECT_TRUE(scan.found()) << cut;
  }
}

TEST(LogScan, FindsATextThatComesByteByByte) {
  LogScan scan;
  for (const char c : std::string(5000, 'x') + "torch.OutOfMemoryError: CUDA out of memory. Tried")
    scan.feed({&c, 1});
  EXPECT_EQ(scan.alarm(), LogAlarm::out_of_memory);
}

// A service survives the one and not the other.
TEST(LogScan, RunningOutOfMemoryHidesNoErrorThatFollows) {
  LogScan scan;
  scan.feed("CUDA out of memory. Tried to allocate 2.00 GiB\n");
  EXPECT_EQ(scan.alarm(), LogAlarm::out_of_memory);
  scan.feed("Traceback (most recent call last):\n");
  EXPECT_EQ(scan.alarm(), LogAlarm::out_of_memory);
  scan.feed("CUDA error: an illegal memory access was encountered\n");
  EXPECT_EQ(scan.alarm(), LogAlarm::cuda_error);
  scan.feed("CUDA out of memory\n");
  EXPECT_EQ(scan.alarm(), LogAlarm::cuda_error);
}

TEST(LogScan, ACudaErrorOfMemoryIsOneOfMemoryWhereverItIsCut) {
  const std::string line = "RuntimeError: CUDA error: out of memory\n";
  for (std::size_t cut = 0; cut <= line.size(); ++cut) {
    LogScan scan;
    scan.feed(line.substr(0, cut));
    scan.feed(line.substr(cut));
    EXPECT_EQ(scan.alarm(), LogAlarm::out_of_memory) << cut;
    scan.feed("CUDA error: unspecified launch failure\n");
    EXPECT_EQ(scan.alarm(), LogAlarm::cuda_error) << cut;
  }
}

TEST(LogScan, FindsWhatStandsDeepInOnePiece) {
  LogScan scan;
  scan.feed(std::string(9000, '.') + "CUDA error: an illegal memory access" +
            std::string(9000, '.'));
  EXPECT_EQ(scan.alarm(), LogAlarm::cuda_error);
}

TEST(LogScan, KeepsTheWorst) {
  LogScan scan;
  scan.feed("Traceback (most recent call last):\n");
  EXPECT_EQ(scan.alarm(), LogAlarm::traceback);
  scan.feed("CUDA out of memory\n");
  scan.feed("CUDA error: device-side assert triggered\n");
  EXPECT_EQ(scan.alarm(), LogAlarm::device_assert);
}

TEST(LogScan, TellsEachTimeOfWhatItKnowsAlreadyWhereverItIsCut) {
  const std::string line = "RuntimeError: CUDA error: unspecified launch failure\n";
  const std::string rest = "and so on for a while\n";
  for (std::size_t cut = 0; cut <= line.size(); ++cut) {
    LogScan scan;
    scan.feed(line);
    int told = 0;
    for (const auto& piece : {line.substr(0, cut), line.substr(cut), rest, rest})
      told += scan.feed(piece) == LogAlarm::cuda_error ? 1 : 0;
    EXPECT_EQ(told, 1) << cut;
    EXPECT_EQ(scan.feed("Traceback (most recent call last):\n"), LogAlarm::traceback) << cut;
    EXPECT_EQ(scan.alarm(), LogAlarm::cuda_error);
  }
}

TEST(LogScan, AnErrorOfMemoryIsToldAgainAsThat) {
  LogScan scan;
  for (int time = 0; time < 3; ++time) {
    EXPECT_EQ(scan.feed("CUDA error: out of"), LogAlarm::none) << time;
    EXPECT_EQ(scan.feed(" memory\n"), LogAlarm::out_of_memory) << time;
    EXPECT_EQ(scan.feed("again\n"), LogAlarm::none) << time;
  }
}

TEST(LogScan, FindsNothingInWhatOnlyLooksLikeIt) {
  LogScan scan;
  scan.want("ready");
  scan.feed("rea");
  scan.feed("lly, CUDA is fine");
  EXPECT_FALSE(scan.found());
  EXPECT_EQ(scan.alarm(), LogAlarm::none);
}

TEST(LogScan, ForgetsAHalfLineOfWhoCameBefore) {
  LogScan scan;
  scan.want("ready");
  scan.feed("rea");
  scan.reset();
  scan.feed("dy");
  EXPECT_FALSE(scan.found());
}

}  // namespace
}  // namespace gpuward::anchor
