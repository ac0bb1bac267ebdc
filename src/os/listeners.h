#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/pid.h"
#include "os/proc_fs.h"

namespace gpuward::os {

/// A TCP socket in state LISTEN of our network namespace.
struct Listener {
  std::uint64_t inode = 0;  ///< 0: its owner has closed it and the kernel is about to free it
  std::uint16_t port = 0;
};

namespace detail {
using ListenerCallback = void (*)(void* context, const Listener& listener);
Result<void> each_listener(ListenerCallback callback, void* context);
using WaitCallback = void (*)(void* context, std::uint16_t port, std::uint32_t connections);
Result<void> each_waiting(WaitCallback callback, void* context);
using InodeCallback = void (*)(void* context, std::uint64_t inode);
Result<void> each_socket(Pid pid, InodeCallback callback, void* context);
}  // namespace detail

/// Calls @p visit(Listener) for every listening TCP socket, v4 and v6: by sock_diag(7), which asks
/// the kernel for listeners only, or /proc/self/net/tcp{,6} where that is missing. Allocates
/// nothing.
template <class Visit>
Result<void> for_each_listener(Visit&& visit) {
  return detail::each_listener(
      [](void* context, const Listener& listener) { (*static_cast<Visit*>(context))(listener); },
      &visit);
}

/// Calls @p visit(port, connections) for every local TCP port at which connections wait for their
/// server: accepted by nobody yet, or with bytes that it has not read. A port may come several
/// times; the counts add up. Walks every established connection of the machine, which takes
/// milliseconds where there is much memory for them: not for each second. Allocates nothing.
template <class Visit>
Result<void> for_each_waiting(Visit&& visit) {
  return detail::each_waiting(
      [](void* context, std::uint16_t port, std::uint32_t connections) {
        (*static_cast<std::remove_reference_t<Visit>*>(context))(port, connections);
      },
      &visit);
}

/// Calls @p visit(inode) for every socket that @p pid has open (/proc/PID/fd; needs the same user
/// or CAP_SYS_PTRACE). Costs about 30 us per descriptor. Allocates nothing.
template <class Visit>
Result<void> for_each_socket(Pid pid, Visit&& visit) {
  return detail::each_socket(
      pid, [](void* context, std::uint64_t inode) { (*static_cast<Visit*>(context))(inode); },
      &visit);
}

/// Who listens on @p port: the lowest pid that holds the socket, or none if it cannot be seen.
std::optional<Pid> find_port_holder(std::uint16_t port);

}  // namespace gpuward::os
