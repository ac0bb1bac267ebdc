#pragma once

#include <map>
#include <string>

#include "control/messages.h"
#include "domain/heal.h"
#include "domain/judgement.h"
#include "warden/cards.h"
#include "warden/clerk.h"
#include "warden/fleet.h"

namespace gpuward::warden {

/// Carries out what domain/heal.h decides about sick services: restarts one, or says why not. What
/// it has done is kept in the state folder before it is done; where that cannot be kept, nothing is
/// done. The intent is in the ledger before the restart. Loop thread only.
class Healer {
 public:
  /// The same is not said of a service again within this time.
  static constexpr auto kSayAgain = std::chrono::minutes(10);
  static constexpr std::size_t kMostRecords = 1024;

  Healer(std::string path, Fleet& fleet, const Cards& cards, Clerk& clerk)
      : path_(std::move(path)), fleet_(fleet), cards_(cards), clerk_(clerk) {}

  void open();
  /// @p decision on @p service, whose tree it was judged by, as it is now.
  void consider(const std::string& service, const Decision& decision, const std::string& evidence);
  /// A person has started or restarted it.
  void started_by_hand(const std::string& service);

 private:
  struct Patient {
    std::map<HealWhy, Instant> said;  // refusals
    bool intends = false;             // the ledger has the intent, or is about to
    std::uint64_t intent = 0;
    std::uint32_t generation = 0;  // that is, or was, restarted
    Instant began{};
    bool awaited = false;  // restarted, and not seen well yet
  };

  HealFacts facts_of(const Fleet::Member& member, const Decision& decision,
                     const std::string& evidence) const;
  bool is_busy(const Fleet::Member& member) const;
  HealTime time() const;
  HealRecord& record_of(const std::string& service);
  bool keep();
  void say(const std::string& service, Patient& patient, const HealDecision& decided,
           const HealFacts& facts, const HealRule& rule);
  void restart(const std::string& service, Patient& patient, const HealFacts& facts,
               const std::string& why, std::uint32_t generation);
  void note_well(const std::string& service, Patient& patient, const Fleet::Member& member,
                 const Decision& decision);

  std::string path_;
  bool unread_ = false;  // a book lies there that could not be read
  Fleet& fleet_;
  const Cards& cards_;
  Clerk& clerk_;
  std::string boot_;
  HealBook book_;
  std::map<std::string, Patient> patients_;
};

}  // namespace gpuward::warden
