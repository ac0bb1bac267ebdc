#pragma once

#include <functional>
#include <string>
#include <vector>

#include "domain/holder.h"

namespace gpuward {

/// What a person wants `gpuward reap` to end; both empty: all that may go without being named.
struct ReapOrder {
  std::vector<std::string> services;
  std::vector<Pid> pids;
  bool names_any() const { return !services.empty() || !pids.empty(); }
};

/// One process, on all cards together, and what becomes of it.
struct ReapItem {
  HolderReport holder;  ///< `memory` is the sum
  bool named = false;   ///< by pid or by service
  bool ends = false;
  std::string why;  ///< it is ended, or is not: "left over", "only where you name it: ..."
};

/// The list that `reap` shows and acts on, the same with --dry-run. An ORPHAN goes by itself, an
/// IDLE_HOLDER only by name, a STRANGER only where @p by_rule says so, anybody else never. Who is
/// not to be ended by anybody (HolderReport::refused) stays. The ORPHANs of one service go together
/// or not at all: naming one means all of them, one that must stay keeps all, and none goes while
/// anything of that service runs. Pure.
std::vector<ReapItem> choose(const std::vector<HolderReport>& holders, const ReapOrder& order,
                             const std::function<bool(const HolderReport&)>& by_rule);

/// Those of @p order's services that are not in @p known, each once.
std::vector<std::string> unknown_services(const ReapOrder& order,
                                          const std::vector<std::string>& known);

/// Those of @p shown that end, as a later look @p now has them. An item that now says something
/// else (another verdict, it stays, it is not seen any more) is not among them, but in @p changed.
std::vector<ReapItem> still_so(const std::vector<ReapItem>& shown, const std::vector<ReapItem>& now,
                               std::vector<ReapItem>* changed);

/// Why one of `changed` is left alone: what @p now says of it.
std::string what_changed(const ReapItem& shown, const std::vector<ReapItem>& now);

}  // namespace gpuward
