#pragma once

#include <cstdint>
#include <utility>

#include "base/units.h"

namespace gpuward {

/// Who waits in a WaitTree is one of these; the tree owns nothing.
struct WaitNode {
  Instant key;            ///< the earlier, the sooner
  std::uint64_t seq = 0;  ///< among equal keys: the order they came in; unique
  Duration work{};        ///< expected; 0 and `unknown` when nobody can tell
  bool unknown = false;

 private:
  friend class WaitTree;
  WaitNode* parent_ = nullptr;
  WaitNode* left_ = nullptr;
  WaitNode* right_ = nullptr;
  std::uint32_t count_ = 1;
  std::uint32_t unknowns_ = 0;
  Duration works_{};
};

/// Of some of those who wait.
struct WaitSum {
  std::uint64_t jobs = 0;
  std::uint64_t unknown = 0;  ///< of these, jobs that nobody knows the duration of
  Duration work{};            ///< of the others
  WaitSum& operator+=(const WaitSum& more) {
    jobs += more.jobs;
    unknown += more.unknown;
    work += more.work;
    return *this;
  }
};

/// Those who wait, in their order, each able to tell how many and how much work stand before it. A
/// treap whose nodes are the waiting themselves: every operation takes O(log n), none allocates.
class WaitTree {
 public:
  WaitTree() = default;
  WaitTree(const WaitTree&) = delete;
  WaitTree& operator=(const WaitTree&) = delete;
  WaitTree(WaitTree&& other) noexcept : root_(std::exchange(other.root_, nullptr)) {}
  WaitTree& operator=(WaitTree&& other) noexcept {
    root_ = std::exchange(other.root_, nullptr);
    return *this;
  }

  /// @p node is in no tree, and stays where it is in memory until it is erased.
  void insert(WaitNode& node);
  void erase(WaitNode& node);

  bool empty() const { return root_ == nullptr; }
  WaitSum total() const { return sum(root_); }
  /// Of those before (@p key, @p seq), which need not be in this tree.
  WaitSum before(Instant key, std::uint64_t seq) const;
  WaitNode* first() const;
  WaitNode* last() const;
  /// nullptr after the last, or before the first.
  static WaitNode* next(const WaitNode& node);
  static WaitNode* previous(const WaitNode& node);

 private:
  static WaitSum sum(const WaitNode* node);
  static void add_up(WaitNode& node);
  static bool is_before(const WaitNode& a, Instant key, std::uint64_t seq);
  void replace_child(WaitNode* parent, const WaitNode* child, WaitNode* with);
  void rotate_up(WaitNode& child);

  WaitNode* root_ = nullptr;
};

}  // namespace gpuward
