#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <vector>

#include "domain/card_watch.h"
#include "os/process.h"
#include "warden/eye.h"

namespace gpuward::warden {

/// The warden's eyes: a gpuward-sentinel of its own that looks at the cards once a second and
/// whenever asked. It may hang or die without harm: it is started again with a growing pause, and
/// without the card that it hung in (domain/card_watch.h). One that hangs so that KILL does not end
/// it is remembered until it has ended; while too many are, no further one is sent to a card that
/// hangs. Loop thread only.
class Sentinel {
 public:
  /// Beyond so many that do not die, nobody asks about a suspect card any more, and beyond twice as
  /// many nobody asks at all.
  static constexpr std::size_t kMostUnkillable = 4;

  explicit Sentinel(asio::io_context& loop)
      : loop_(loop), main_(loop), other_(loop), retry_(loop), soon_(loop), chores_(loop) {}
  ~Sentinel();

  /// Starts it. @p on_snapshot gets every look at all cards, those that hang with their last
  /// numbers, and one that says why when there can be none.
  void start(std::function<void(GpuSnapshot)> on_snapshot);
  /// Asks for a look as soon as possible; the answer comes as any other.
  void look_now() { main_.look_now(); }
  /// The same in @p pause.
  void look_in(Duration pause);
  void stop();

 private:
  struct Dying {
    os::Process process;
    Instant killed_at;
  };
  void launch();
  void launch_later(const char* why);
  void hear(GpuSnapshot snapshot);
  void try_card(std::uint32_t card);
  void end_try(std::uint32_t card, const std::optional<GpuSnapshot>& seen);
  void bury(os::Process process);
  void sweep(Instant now);
  std::uint32_t unkillable(Instant now) const;
  void do_chores_soon();
  void tell();

  asio::io_context& loop_;
  std::function<void(GpuSnapshot)> on_snapshot_;
  CardWatch watch_;
  Eye main_;
  Eye other_;  // looks at a suspect card alone
  asio::steady_timer retry_;
  asio::steady_timer soon_;
  asio::steady_timer chores_;
  std::vector<Dying> dying_;
  std::chrono::milliseconds pause_{1000};
};

}  // namespace gpuward::warden
