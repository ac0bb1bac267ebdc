#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "answer/known_answer.h"
#include "domain/canary.h"
#include "domain/report.h"
#include "warden/clerk.h"
#include "warden/fleet.h"

namespace gpuward::warden {

class Question;
struct Answer;

/// Asks every service that has a `canary`, while it is ready, and remembers what came of it. Loop
/// thread only.
///
///   idle      it is not ready, or may not be asked: look() finds out when it is
///   waiting   the timer runs to the next question
///   asked     a question is open, and no other is sent to it. The timer runs to the deadline; a
///             question that is late stays open, so that a service which is slow never has two of
///             them, until it is answered or, after kGivenUpAfter, another takes its place
class Canaries {
 public:
  static constexpr auto kGivenUpAfter = std::chrono::minutes(10);

  Canaries(asio::io_context& loop, const Fleet& fleet, Clerk& clerk);

  /// Reads the files of all of them, once. What was found of a canary that stays as it was is kept.
  void configure(const std::vector<ServiceModel>& services);
  /// Asked before each question beyond what the anchor says: may it be asked?
  void ask_before(std::function<bool(const std::string& service)> may) {
    may_ask_ = std::move(may);
  }
  /// After anything of the fleet has changed.
  void look();
  void stop();

  /// What counts for the verdict on the generation @p generation of @p service; nullptr: nothing.
  const CanaryFacts* facts(const std::string& service, std::uint32_t generation) const;
  void complete(StatusReport& report) const;

 private:
  struct One {
    explicit One(asio::io_context& loop) : timer(loop) {}
    Canary canary;
    std::shared_ptr<const std::string> body;  ///< null: nothing is sent
    std::optional<answer::KnownAnswer> known;
    std::string trouble;  ///< why it cannot be asked
    CanaryTally tally;
    std::uint32_t generation = 0;  ///< that `tally` is of
    bool idle = true;
    std::uint64_t turn = 0;  ///< a timer of an earlier one has nothing to say
    asio::steady_timer timer;
    std::shared_ptr<Question> question;
    Instant asked{};
    std::uint64_t seen = 0;  ///< bytes of the answer at the last deadline
  };

  void read_files(const std::string& service, One& one);
  const Fleet::Member* ready_member(const std::string& service) const;
  void rest(One& one);
  void wait(const std::string& service, One& one, Duration pause);  // jittered
  void wake_in(const std::string& service, One& one, Duration pause);
  void due(const std::string& service, One& one);
  void ask(const std::string& service, One& one, const Fleet::Member& member);
  void late(const std::string& service, One& one);
  void take(const std::string& service, One& one, const Answer& answer);
  void take_down(const std::string& service, One& one, CanaryResult result, std::string detail);
  double share(double low, double high);

  asio::io_context& loop_;
  const Fleet& fleet_;
  Clerk& clerk_;
  std::function<bool(const std::string&)> may_ask_;
  std::map<std::string, std::unique_ptr<One>> canaries_;
  std::uint64_t turns_ = 0;
  std::minstd_rand random_;
};

}  // namespace gpuward::warden
