#pragma once

#include <optional>

#include "base/error.h"
#include "base/pid.h"
#include "base/text.h"
#include "os/fd.h"

namespace gpuward::anchor {

/// Where a service tells about itself: the datagram socket of sd_notify(3). Abstract, so that it
/// needs no folder the service could reach; of a random name that stands in the record, so that the
/// next anchor of the same tree has the same one.
class NotifySocket {
 public:
  /// @p name: "@" and the rest.
  static Result<NotifySocket> open(const Text<64>& name);

  int fd() const { return socket_.get(); }

  struct Word {
    Pid sender;     ///< by the kernel's word; whether it is one of ours is for the caller to see
    uid_t uid = 0;  ///< likewise
    bool ready = false;
    bool stopping = false;
    bool watchdog = false;
  };
  /// The next message; none when there is no more. What else it may say is passed over, and
  /// descriptors that came with it are closed.
  std::optional<Word> read() const;

 private:
  os::Fd socket_;
};

}  // namespace gpuward::anchor
