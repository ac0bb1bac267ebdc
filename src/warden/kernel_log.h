#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "domain/report.h"
#include "domain/xid_policy.h"
#include "os/kmsg.h"
#include "warden/clerk.h"
#include "warden/fleet.h"
#include "warden/owner.h"

namespace gpuward::warden {

/// What the GPU driver says in the kernel's log: each Xid becomes an incident of its card and of
/// the service whose process it names, and an entry of the ledger. It is read by the warden itself,
/// because a sentinel may hang in the driver just then. Where it cannot be read, that is said and
/// no alarm. Loop thread only.
class KernelLog {
 public:
  KernelLog(asio::io_context& loop, Fleet& fleet, Clerk& clerk, std::string state);
  ~KernelLog();
  KernelLog(const KernelLog&) = delete;
  KernelLog& operator=(const KernelLog&) = delete;

  /// Called for every line about a card, after it was added: @p incident is what it was added to,
  /// `times` 1 for a new one. Not for what was said before the warden began.
  void on_incident(std::function<void(const XidIncident& incident)> handler) {
    on_incident_ = std::move(handler);
  }

  /// Reads @p path from now on; empty: nothing. GPUWARD_KMSG in the environment outranks it.
  /// /dev/kmsg is read from the boot of the machine: what was said before the warden began counts
  /// for the cards, and is written down unless an earlier warden has done so. A path that is read
  /// already is not begun again.
  void read(const std::string& path);
  void stop();
  /// Where the log is not read, the Xids that the driver told the sentinel of are all there is.
  /// They name no process. Where it is read they are passed over: the log says the same and more.
  void see_events(const GpuSnapshot& snapshot);

  const XidHistory& history() const { return history_; }
  /// A person or a reset has put @p card right.
  void clear(const PciAddress& card) { history_.clear(card); }

  /// The card of @p snapshot at @p address: by its own word, by the driver's in the log, or because
  /// there is no other. Empty: it cannot be told.
  std::string uuid_of(const PciAddress& address, const GpuSnapshot& snapshot) const;
  /// The address of a card; nullopt where nobody has said it.
  std::optional<PciAddress> address_of(const GpuDevice& device, const GpuSnapshot& snapshot) const;

  /// The card that an incident without an address is of: the only one there is. Empty: it cannot be
  /// told, as where the log names any other.
  std::string uuid_of_unknown(const GpuSnapshot& snapshot) const;

  KernelLogReport report() const;
  /// What `status` shows, newest first, at most kMostShown: not what is only for the record.
  std::vector<CardIncident> incidents(const GpuSnapshot& snapshot) const;
  static constexpr std::size_t kMostShown = 32;

 private:
  /// How much of a storm of one card goes into the ledger.
  struct Allowance {
    double left = kBurst;
    Instant at{};
    std::uint32_t folded = 0;
    static constexpr double kBurst = 20;
    static constexpr double kPerSecond = 0.5;
    bool take(Instant now);
  };

  void open();
  void open_again_later();
  void wait();
  void drain();
  void cannot_read(const Error& why);
  void can_read();
  void see(const os::Kmsg::Entry& entry);
  void see_xid(const XidLine& line, const os::Kmsg::Entry& entry);
  void see_off_bus(const OffBusLine& line, const os::Kmsg::Entry& entry);
  XidFacts facts_of(const XidLine& line, Instant at, bool old, std::uint32_t& generation);
  std::optional<TreeOwner> find_owner(Pid pid, bool lives);
  void note(const XidIncident& incident, EventKind kind, const os::Kmsg::Entry& entry, Instant at,
            std::uint32_t generation);
  void note_lost();
  void tell(const XidIncident& incident, bool old);
  bool is_noted(const os::Kmsg::Entry& entry) const;
  void read_noted();
  void write_noted();
  std::string name_of(const XidIncident& incident) const;

  asio::io_context& loop_;
  Fleet& fleet_;
  Clerk& clerk_;
  std::string state_;  ///< the folder that is kept across boots
  std::string path_;
  std::unique_ptr<os::Kmsg> log_;
  asio::posix::stream_descriptor ready_;
  asio::steady_timer retry_;
  KernelLogSight sight_ = KernelLogSight::off;
  std::string detail_;
  std::uint64_t told_lost_ = 0;
  std::uint64_t read_before_ = 0;  ///< the first record of /dev/kmsg that was not read yet
  std::uint64_t lost_before_ = 0;  ///< of logs that were open earlier
  XidHistory history_;
  std::map<PciAddress, Text<48>> names_;
  std::optional<PciAddress> announced_;  ///< by the line before, or the one before that
  int announced_for_ = 0;
  std::map<PciAddress, Allowance> allowances_;
  Instant looked_for_newcomers_{};
  std::string boot_;
  std::optional<std::uint64_t> noted_;  ///< of this boot, up to which record
  std::optional<std::uint64_t> noted_now_;
  std::function<void(const XidIncident&)> on_incident_;
};

}  // namespace gpuward::warden
