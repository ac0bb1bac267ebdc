#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "control/home.h"
#include "os/fd.h"
#include "os/socket.h"
#include "warden/canaries.h"
#include "warden/cards.h"
#include "warden/clerk.h"
#include "warden/doors.h"
#include "warden/fleet.h"
#include "warden/healer.h"
#include "warden/health.h"
#include "warden/holders.h"
#include "warden/hooks.h"
#include "warden/kernel_log.h"
#include "warden/operation.h"
#include "warden/sentinel.h"

namespace gpuward::warden {

/// One per host or user: the desired state, the adoption of anchors, the control socket. One
/// thread, one loop. It owns nothing that must outlive it.
class Warden {
 public:
  explicit Warden(control::Home home);

  /// Reads @p files, else those of the last `up -c` since a `down`, else etc/*.toml; connects to
  /// what lives; listens.
  /// @return nothing, or why not: a text for people, with every problem of the configuration.
  std::optional<std::string> begin(const std::vector<std::string>& files);
  /// Runs until `down` or TERM. TERM leaves the services alive. @return the exit code.
  int run();

 private:
  struct Reload {
    WardenAnswer answer;  ///< so far
    Instant by;           ///< when it is given at the latest
  };
  struct Pending {
    std::shared_ptr<Link> client;
    Operation operation;
    std::unique_ptr<asio::steady_timer> timer;
    WardenRequest request;
    std::vector<std::uint64_t> orders;  ///< the ledger's numbers, one a service or one for all
    std::string card{};                 ///< uuid, of a drain
    std::optional<Reload> reload{};     ///< of one that was not answered yet
    std::optional<Instant> ended{};     ///< of a drain: since when all is stopped
  };

  void accept();
  void accept_later(const std::string& why);
  void serve(const std::shared_ptr<Link>& client, const wire::Body& body, const os::Peer& who);
  config::Parsed read_files() const;
  bool may_ask(const std::string& service) const;
  void choose_autostart(const std::vector<ServiceModel>& services);
  WardenAnswer reconfigure(bool only_plan);
  std::vector<std::string> chosen_files(const std::vector<std::string>& files) const;
  void remember_files() const;
  void reply(const std::shared_ptr<Link>& client, const WardenAnswer& answer);
  void order(const std::shared_ptr<Link>& client, const WardenRequest& request,
             const os::Peer& who);
  void note_ended_by_hand(const WardenRequest& request, const os::Peer& who);
  void refuse(const std::shared_ptr<Link>& client, const WardenRequest& request,
              const std::vector<std::uint64_t>& orders);
  void note_outcome(const WardenAnswer& answer, const WardenRequest& request,
                    const std::vector<std::uint64_t>& orders);
  void order_card(const std::shared_ptr<Link>& client, const WardenRequest& request,
                  const os::Peer& who, const std::vector<std::uint64_t>& orders);
  void begin_drain(const std::shared_ptr<Link>& client, const WardenRequest& request,
                   const GpuDevice& card, const std::vector<std::uint64_t>& orders);
  WardenAnswer answer_drain_plan(const std::string& gpu) const;
  CardAnswer who_is_on(const GpuDevice& card) const;
  bool looked_since_its_end(Pending& drain);
  void add_card(WardenAnswer& answer, const std::string& uuid) const;
  void begin_operation(const std::shared_ptr<Link>& client, const WardenRequest& request,
                       std::vector<std::uint64_t> orders, std::string card = {});
  void start_in_order(std::vector<std::string> names);
  void reload(const std::shared_ptr<Link>& client, const WardenRequest& request,
              std::vector<std::uint64_t> orders);
  void answer_reload(Pending& pending);
  std::chrono::milliseconds usual_time(const WardenRequest& request,
                                       const std::vector<std::string>& names) const;
  void advance();
  void advance_soon();
  void advance_all();
  void close_doors();
  void tell_hooks();
  void heal();
  void see_incident(const XidIncident& incident);
  void hear_log();
  void reap_children();
  void wait_for_signals();
  void meet_manager();
  void tell_manager(std::string_view text);
  void feed_watchdog();
  WardenReport own_report() const;
  void complete(StatusReport& report) const;

  asio::io_context loop_{1};
  control::Home home_;
  Clerk clerk_;
  Fleet fleet_;
  KernelLog kernel_log_;
  Canaries canaries_;
  Doors doors_;
  Health health_;
  Cards cards_;
  Healer healer_;
  Hooks hooks_;
  Holders holders_;
  Sentinel sentinel_;
  os::Fd lock_;
  asio::local::stream_protocol::acceptor acceptor_;
  asio::steady_timer accept_again_;
  asio::steady_timer watchdog_;
  std::string manager_;  ///< systemd's notification socket; empty: there is none
  Duration watchdog_every_{};
  asio::signal_set signals_;
  std::list<Pending> pending_;
  bool advancing_ = false;
  bool leaving_ = false;  ///< `down` is done: nothing is begun any more
  bool advances_soon_ = false;
  /// By service, "" for what is of none: the ledger's number of the last take-over or reap.
  std::map<std::string, std::uint64_t> by_hand_;
  std::vector<std::string> files_;  ///< read, as chosen when it began; empty: etc/*.toml
  std::vector<std::string> autostart_;
  std::string kernel_log_path_;  ///< as configured when it began
  Instant began_{};
  int exit_code_ = 0;
};

}  // namespace gpuward::warden
