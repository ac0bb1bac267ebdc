#include "domain/receipt.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

Receipt ended(std::uint32_t processes) {
  Receipt receipt;
  receipt.generation = 1;
  receipt.processes_ended = processes;
  receipt.memory = MemoryProof::none;
  return receipt;
}

TEST(DescribeReceipt, NamesWhatWasHandedOver) {
  Receipt receipt = ended(3);
  receipt.released.list.push_back({{Pid{77}, 1}, Pid{77}, "worker"});
  EXPECT_TRUE(
      describe(receipt).ends_with(", none left; it held no GPU memory; handed over: pid 77 "
                                  "(worker)"))
      << describe(receipt);
  receipt.released.list.push_back({{Pid{78}, 1}, Pid{77}, "sh"});
  receipt.released.more = 5;
  receipt.released.trouble = "pid 78 stays";
  EXPECT_TRUE(
      describe(receipt).ends_with("; handed over: pid 77 (worker), pid 78 (sh) and 5 more; "
                                  "NOT as promised: pid 78 stays"))
      << describe(receipt);
}

TEST(DescribeReceipt, AWholeTreeThatWasGivenUpHasEndedNobody) {
  Receipt receipt = ended(0);
  receipt.released.all = true;
  receipt.released.list.push_back({{Pid{77}, 1}, Pid{77}, "python"});
  EXPECT_EQ(describe(receipt), "handed over, none was touched: 1 process: pid 77 (python)");
}

}  // namespace
}  // namespace gpuward
