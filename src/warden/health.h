#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "domain/context_history.h"
#include "domain/judgement.h"
#include "domain/xid_policy.h"
#include "os/clock.h"
#include "warden/clerk.h"
#include "warden/fleet.h"

namespace gpuward::warden {

class Canaries;

/// Gathers what a verdict stands on, of every service whose anchor is connected, and judges it: at
/// each look at the cards, when an anchor tells something new, when the kernel tells of an Xid. A
/// change for the worse, and back, goes into the ledger. Ends nothing. Loop thread only.
///
/// What costs more than the look itself, processes' CPU time and who waits at which port, is read
/// only where something speaks against a service, and of all that use a GPU at every fifth look.
class Health {
 public:
  Health(const Fleet& fleet, Clerk& clerk) : fleet_(fleet), clerk_(clerk) {}

  /// Where the kernel's Xids are kept; @p history must outlive this. Without it none are known.
  void use(const XidHistory& history) { xids_ = &history; }
  /// What services answered to the canary; likewise.
  void use(const Canaries& canaries) { canaries_ = &canaries; }

  /// After the fleet was given a new look at the cards.
  void look();
  /// After an anchor told something. @return whether a look at the cards now would tell more.
  bool news();
  /// After the kernel told something of @p service.
  void judge_again(const std::string& service);

  /// The last decision on @p service; nullptr: it was not judged lately, see is_fresh().
  const Decision* decision(const std::string& service) const;
  /// The facts of that decision on one line, for the ledger. Empty: it was never judged.
  std::string evidence(const std::string& service) const;
  /// What that decision says, in words. Empty: what its anchor says is all there is.
  std::string sentence(const std::string& service) const;
  /// Calls @p visit(name, decision) for every service that was judged lately.
  template <class Visit>
  void for_each(Visit&& visit) const {
    const Instant now = os::now();
    for (const auto& [name, patient] : patients_)
      if (is_fresh(patient.memory, now)) visit(name, *patient.memory.current);
  }
  /// Writes verdicts, sentences, evidence and actions over what the anchors say.
  void complete(StatusReport& report) const;

 private:
  struct Patient {
    std::uint32_t generation = 0;
    bool known = false;  ///< its state was seen before
    Phase judged_phase = Phase::idle;
    LogAlarm judged_alarm = LogAlarm::none;
    std::int64_t judged_alarm_ns = 0;
    ContextHistory contexts;
    ServiceFacts facts;
    VerdictMemory memory;
    Verdict noted = Verdict::healthy;  ///< as the ledger knows it
    bool waits = false;                ///< somebody waited when last looked
  };

  Patient& patient_of(const std::string& name, const Fleet::Member& member, Instant now);
  void see_cards(Patient& patient, const Fleet::Member& member, Instant now);
  void see_xids(Patient& patient, const std::string& name) const;
  void look_closer(Instant now);
  void judge(const std::string& name, Patient& patient, Instant now);
  void note(const std::string& name, Patient& patient, const Decision& decision, Instant now);

  const Fleet& fleet_;
  Clerk& clerk_;
  const XidHistory* xids_ = nullptr;
  const Canaries* canaries_ = nullptr;
  std::map<std::string, Patient> patients_;
  std::uint32_t looks_ = 0;
};

}  // namespace gpuward::warden
