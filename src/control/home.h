#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace gpuward::control {

/// Where gpuward keeps its things. GPUWARD_HOME=DIR puts all below one folder; otherwise the system
/// folders for root and the XDG folders for a user.
struct Home {
  std::string etc;    ///< *.toml
  std::string state;  ///< what survives a reboot
  std::string run;    ///< sockets, records; dies with the boot
  std::string log;    ///< logs of services

  std::string anchors() const { return run + "/anchors"; }
  /// Temp folders of services. Beside `state`, which only its owner may pass through.
  std::string temp() const { return state + "-tmp"; }
  std::string cards() const { return state + "/cards"; }  ///< a CardBook
  std::string heal() const { return state + "/heal"; }    ///< a HealBook
  /// The files of the last `up -c`, one a line; until `down`.
  std::string chosen_files() const { return state + "/configuration"; }
};

/// Errors: Errc::invalid when neither HOME nor GPUWARD_HOME is set. A relative
/// GPUWARD_HOME is taken from the current folder.
Result<Home> find_home();

/// What a warden says that finds another one at work.
inline constexpr std::string_view kWardenRuns = "a warden runs already; see: gpuward status";

/// Makes run, state and log where missing (0700), and refuses run and state folders that another
/// user owns or may write to: whoever can write there could hand us false records.
Result<void> prepare_home(const Home& home);

}  // namespace gpuward::control
