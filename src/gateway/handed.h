#pragma once

#include <string>
#include <vector>

#include "os/fd.h"

namespace gpuward::gateway {

/// A descriptor that whoever started this program has opened for it.
struct Handed {
  std::string name;
  os::Fd fd;  ///< close-on-exec, non-blocking
};

/// Those of sd_listen_fds(3): LISTEN_FDS from 3 on, named by LISTEN_FDNAMES. None when they are
/// meant for another process. Once: the variables are removed.
std::vector<Handed> take_handed();

}  // namespace gpuward::gateway
