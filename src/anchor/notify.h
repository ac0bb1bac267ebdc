#pragma once

#include <optional>

#include "base/error.h"
#include "base/pid.h"
#include "base/text.h"
#include "os/fd.h"

namespace gpuward::anchor {

/// Where a service tells about itself: the datagram socket of sd_notify(3). Abstract, so that it
/// needs no folder the service could reach, and named after the anchor's folder, so that the next
/// anchor of the same tree has the same one.
class NotifySocket {
 public:
  static Result<NotifySocket> open(const os::Fd& dir);

  int fd() const { return socket_.get(); }
  /// For NOTIFY_SOCKET: "@gpuward/66306-1234".
  const Text<64>& name() const { return name_; }

  struct Word {
    Pid sender;  ///< by the kernel's word; whether it is one of ours is for the caller to see
    bool ready = false;
    bool stopping = false;
    bool watchdog = false;
  };
  /// The next message; none when there is no more. What else it may say is passed over, and
  /// descriptors that came with it are closed.
  std::optional<Word> read() const;

 private:
  os::Fd socket_;
  Text<64> name_;
};

}  // namespace gpuward::anchor
