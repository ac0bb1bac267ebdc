#include "control/actor.h"

#include "os/proc_fs.h"

namespace gpuward::control {

Actor actor_of(const os::Peer& peer) {
  Actor actor;
  actor.uid = peer.uid;
  actor.pid = peer.pid;
  if (const auto login = os::read_login_uid(peer.pid)) {
    actor.has_login = true;
    actor.login_uid = *login;
  }
  actor.command = os::read_lineage(peer.pid);
  return actor;
}

}  // namespace gpuward::control
