#include "cli/stop_order.h"

#include <algorithm>

namespace gpuward::cli {

StartLinks recorded_links(const std::vector<control::AnchorFolder>& folders) {
  StartLinks all;
  for (const auto& folder : folders) {
    const auto record = control::read_record(folder);
    if (!record) continue;
    auto links = links_of(record->plan.needs, record->plan.after);
    if (!links.empty()) all[folder.service] = std::move(links);
  }
  return all;
}

std::vector<std::string> left_without(const StartLinks& links,
                                      const std::vector<control::AnchorFolder>& folders,
                                      const std::string& name,
                                      const std::vector<std::string>& named) {
  auto others = who_needs(links, name);
  std::erase_if(others, [&](const std::string& other) {
    const auto folder = std::ranges::find(folders, other, &control::AnchorFolder::service);
    return std::ranges::find(named, other) != named.end() || folder == folders.end() ||
           !control::anchor_lives(*folder);
  });
  return others;
}

}  // namespace gpuward::cli
