#include "domain/wait_tree.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <memory>
#include <random>
#include <tuple>
#include <vector>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

TEST(WaitTree, TellsTheSameAsASortedList) {
  std::mt19937_64 random(1);
  WaitTree tree;
  std::vector<std::unique_ptr<WaitNode>> list;
  const auto less = [](const auto& a, const auto& b) {
    return std::tie(a->key, a->seq) < std::tie(b->key, b->seq);
  };
  for (std::uint64_t seq = 1; seq <= 3000; ++seq) {
    if (list.empty() || random() % 3 != 0) {
      auto node = std::make_unique<WaitNode>();
      node->key = Instant{} + std::chrono::seconds(random() % 50);
      node->seq = seq;
      node->unknown = random() % 4 == 0;
      if (!node->unknown) node->work = std::chrono::milliseconds(random() % 9000);
      tree.insert(*node);
      list.insert(std::ranges::upper_bound(list, node, less), std::move(node));
    } else {
      const auto at = list.begin() + static_cast<std::ptrdiff_t>(random() % list.size());
      tree.erase(**at);
      list.erase(at);
    }
    if (list.empty()) continue;
    ASSERT_EQ(tree.first(), list.front().get());
    ASSERT_EQ(tree.last(), list.back().get());
    const std::size_t at = random() % list.size();
    WaitSum before;
    for (std::size_t i = 0; i < at; ++i)
      before += {.jobs = 1, .unknown = list[i]->unknown ? 1U : 0U, .work = list[i]->work};
    const WaitSum told = tree.before(list[at]->key, list[at]->seq);
    ASSERT_EQ(told.jobs, before.jobs);
    ASSERT_EQ(told.unknown, before.unknown);
    ASSERT_EQ(told.work, before.work);
    ASSERT_EQ(tree.total().jobs, list.size());
    ASSERT_EQ(WaitTree::next(*list[at]), at + 1 < list.size() ? list[at + 1].get() : nullptr);
    ASSERT_EQ(WaitTree::previous(*list[at]), at > 0 ? list[at - 1].get() : nullptr);
  }
}

}  // namespace
}  // namespace gpuward
