#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "domain/service.h"
#include "os/fd.h"
#include "os/process.h"

namespace gpuward::anchor {

/// Each main writes its own pid behind it: sd_listen_fds(3) asks whom the sockets are meant for.
inline constexpr std::string_view kListenPid = "LISTEN_PID=";

/// The sockets that an anchor keeps for main, and what it hands over beside them. While main starts
/// again new connections wait in them. Allocates nothing after prepare().
class KeptSockets {
 public:
  KeptSockets() = default;
  /// What is in both lists outlives this.
  static KeptSockets prepare(std::span<const KeptSocket> sockets,
                             std::span<const HandedFile> files);
  /// "a:b:control:plan", for LISTEN_FDNAMES.
  std::string names() const;
  bool empty() const { return fds_.empty(); }
  std::size_t count() const { return fds_.size(); }

  /// Of a main that lives and has them: pidfd_getfd(2), Linux 5.6, and the rights of ptrace(2).
  /// What cannot be had so is bound when main is started again.
  void take_from(const os::Process& main);
  /// Binds what is not bound yet, and opens the files anew; one that is missing is /dev/null.
  /// Errors: as bind(2) and listen(2), with the address.
  Result<void> make_ready();
  /// In the order of names(). Valid until the next call of anything here.
  std::span<const int> numbers() const { return numbers_; }

 private:
  std::span<const KeptSocket> sockets_;
  std::span<const HandedFile> files_;
  std::vector<os::Fd> fds_;  ///< first the sockets
  std::vector<int> numbers_;
};

}  // namespace gpuward::anchor
