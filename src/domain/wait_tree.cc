#include "domain/wait_tree.h"

namespace gpuward {
namespace {

// What makes the tree bushy whatever order the keys come in: a well mixed hash of the number.
std::uint64_t priority(const WaitNode& node) {
  std::uint64_t mixed = node.seq + 0x9e3779b97f4a7c15ULL;
  mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebULL;
  return mixed ^ (mixed >> 31U);
}

}  // namespace

bool WaitTree::is_before(const WaitNode& a, Instant key, std::uint64_t seq) {
  return a.key != key ? a.key < key : a.seq < seq;
}

WaitSum WaitTree::sum(const WaitNode* node) {
  if (node == nullptr) return {};
  return {.jobs = node->count_, .unknown = node->unknowns_, .work = node->works_};
}

void WaitTree::add_up(WaitNode& node) {
  WaitSum all{.jobs = 1, .unknown = node.unknown ? 1U : 0U, .work = node.work};
  all += sum(node.left_);
  all += sum(node.right_);
  node.count_ = static_cast<std::uint32_t>(all.jobs);
  node.unknowns_ = static_cast<std::uint32_t>(all.unknown);
  node.works_ = all.work;
}

void WaitTree::replace_child(WaitNode* parent, const WaitNode* child, WaitNode* with) {
  if (parent == nullptr) {
    root_ = with;
  } else if (parent->left_ == child) {
    parent->left_ = with;
  } else {
    parent->right_ = with;
  }
  if (with != nullptr) with->parent_ = parent;
}

// The child takes its parent's place, and the parent becomes its child.
void WaitTree::rotate_up(WaitNode& child) {
  WaitNode& parent = *child.parent_;
  replace_child(parent.parent_, &parent, &child);
  const bool was_left = parent.left_ == &child;
  WaitNode*& inner = was_left ? child.right_ : child.left_;
  (was_left ? parent.left_ : parent.right_) = inner;
  if (inner != nullptr) inner->parent_ = &parent;
  inner = &parent;
  parent.parent_ = &child;
  add_up(parent);
  add_up(child);
}

void WaitTree::insert(WaitNode& node) {
  node.parent_ = node.left_ = node.right_ = nullptr;
  add_up(node);
  WaitNode* parent = nullptr;
  WaitNode** at = &root_;
  while (*at != nullptr) {
    parent = *at;
    at = is_before(*parent, node.key, node.seq) ? &parent->right_ : &parent->left_;
  }
  *at = &node;
  node.parent_ = parent;
  for (WaitNode* up = parent; up != nullptr; up = up->parent_) add_up(*up);
  while (node.parent_ != nullptr && priority(node) > priority(*node.parent_)) rotate_up(node);
}

void WaitTree::erase(WaitNode& node) {
  while (node.left_ != nullptr && node.right_ != nullptr)
    rotate_up(priority(*node.left_) > priority(*node.right_) ? *node.left_ : *node.right_);
  WaitNode* parent = node.parent_;
  replace_child(parent, &node, node.left_ != nullptr ? node.left_ : node.right_);
  for (WaitNode* up = parent; up != nullptr; up = up->parent_) add_up(*up);
  node.parent_ = node.left_ = node.right_ = nullptr;
}

WaitSum WaitTree::before(Instant key, std::uint64_t seq) const {
  WaitSum all;
  for (const WaitNode* at = root_; at != nullptr;) {
    if (!is_before(*at, key, seq)) {
      at = at->left_;
      continue;
    }
    all += sum(at->left_);
    all += {.jobs = 1, .unknown = at->unknown ? 1U : 0U, .work = at->work};
    at = at->right_;
  }
  return all;
}

WaitNode* WaitTree::first() const {
  WaitNode* at = root_;
  while (at != nullptr && at->left_ != nullptr) at = at->left_;
  return at;
}

WaitNode* WaitTree::last() const {
  WaitNode* at = root_;
  while (at != nullptr && at->right_ != nullptr) at = at->right_;
  return at;
}

WaitNode* WaitTree::next(const WaitNode& node) {
  if (node.right_ != nullptr) {
    WaitNode* at = node.right_;
    while (at->left_ != nullptr) at = at->left_;
    return at;
  }
  const WaitNode* at = &node;
  while (at->parent_ != nullptr && at->parent_->right_ == at) at = at->parent_;
  return at->parent_;
}

WaitNode* WaitTree::previous(const WaitNode& node) {
  if (node.left_ != nullptr) {
    WaitNode* at = node.left_;
    while (at->right_ != nullptr) at = at->right_;
    return at;
  }
  const WaitNode* at = &node;
  while (at->parent_ != nullptr && at->parent_->left_ == at) at = at->parent_;
  return at->parent_;
}

}  // namespace gpuward
