#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/gateway_messages.h"
#include "control/home.h"
#include "domain/gateway_service.h"
#include "domain/service.h"
#include "warden/fleet.h"
#include "warden/link.h"

namespace gpuward::warden {

/// Where the gateway and the warden of @p home meet. Makes the folder. Errors: as mkdir(2);
/// Errc::not_found when the program is not beside this one.
Result<GatewayPlaces> gateway_places(const control::Home& home);

/// Tells the gateway what stands behind its doors: in the file that it begins with, and over its
/// control socket while it runs. Everything of a service each time it changes: nothing has to be
/// remembered of what was told before. Loop thread only.
class Doors {
 public:
  Doors(asio::io_context& loop, const control::Home& home, const Fleet& fleet)
      : loop_(loop), home_(home), fleet_(fleet), poll_(loop) {}

  void configure(const std::vector<ServiceModel>& services);
  /// After every change of any service.
  void look();
  /// May @p service be ended? From the first question on the gateway gives it no more jobs; it is
  /// drained once none is in flight, or after @p limit. True at once where no gateway runs.
  bool drained(const std::string& service, std::chrono::milliseconds limit, Instant now);
  /// Called when the answer of drained() may have changed.
  void on_drained(std::function<void()> handler) { on_drained_ = std::move(handler); }
  /// Adds where the gateway listens to what is told of each service.
  void complete(StatusReport& report) const;

 private:
  Door now(const std::string& service, const DoorModel& model) const;
  void write_plan();
  void connect();
  void tell(const GatewayRequest& request);
  void hear(const wire::Body& body);
  bool is_ready(const std::string& service) const;
  void forget_ended(Instant now);
  void poll();

  asio::io_context& loop_;
  const control::Home& home_;
  const Fleet& fleet_;
  std::map<std::string, DoorModel> models_;
  std::map<std::string, Door> told_;  ///< what is in the file, and was sent while connected
  std::shared_ptr<Link> link_;
  struct Drain {
    Instant by;          ///< it is ended then, whoever is in
    bool empty = false;  ///< none is in flight
  };
  std::map<std::string, Drain> drains_;
  asio::steady_timer poll_;
  bool polls_ = false;
  std::function<void()> on_drained_;
};

}  // namespace gpuward::warden
