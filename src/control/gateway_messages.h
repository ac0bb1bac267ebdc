#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/wire.h"
#include "domain/door.h"

// What the gateway and those who talk to it say to each other, and the plan that it starts from.

namespace gpuward {

/// One service's door. The file that a gateway reads when it starts is one such frame after the
/// other.
struct DoorPlan {
  static constexpr std::uint8_t kKind = 9;
  Door door;
};

/// What one replica held, for its limits.
struct ReplicaSampleNews {
  std::string service;
  std::uint32_t replica = 0;
  Bytes gpu_held{}, gpu_peak{};
  Bytes host_held{}, host_peak{};
  std::int64_t peak_at_ns = 0;  ///< CLOCK_MONOTONIC
};
/// What a memory holds in all: a card's by its UUID, the host's by "".
struct PoolSampleNews {
  std::string card;
  Bytes total{};
  Bytes others{};  ///< held by whoever is no replica behind this gateway
};

/// To the gateway. Each is answered by one GatewayAnswer, `samples` by none.
struct GatewayRequest {
  static constexpr std::uint8_t kKind = 10;
  enum class What : std::uint8_t {
    none = 0,
    doors = 1,    ///< `door`, one after the other; those not named stay as they are
    remove = 2,   ///< the door of `service`: who waits is refused, what runs is finished
    jobs = 3,     ///< of `service`, of all when it is empty
    cancel = 4,   ///< `job`
    status = 5,   ///< of all doors
    samples = 6,  ///< `replicas`, `pools`
    drain = 7,    ///< replica `replica` of `service` gets no more; answered at once
  };
  What what = What::none;
  std::vector<Door> doors{};
  std::string service{};
  std::uint64_t job = 0;
  std::uint32_t replica = 0;
  std::vector<ReplicaSampleNews> replicas{};
  std::vector<PoolSampleNews> pools{};
};

/// From the gateway.
struct GatewayAnswer {
  static constexpr std::uint8_t kKind = 11;
  std::uint8_t exit_code = 0;  ///< as a command's
  std::string error;           ///< empty: none
  std::vector<JobReport> jobs;
  std::vector<DoorReport> doors;
};

template <class A>
void fields(A& a, QueueSettings::Class& v) {
  a(1, v.most_jobs), a(2, v.most_bytes), a(3, v.deadline);
}
template <class A>
void fields(A& a, QueueSettings& v) {
  a(1, v.classes[0]), a(2, v.classes[1]), a(3, v.classes[2]);
  a(4, v.age_after), a(5, v.most_per_caller), a(6, v.fair_share);
}
template <class A>
void fields(A& a, ClassRoute& v) {
  a(1, v.prefix), a(2, v.job_class), a(3, v.pass);
}
template <class A>
void fields(A& a, DoorModel& v) {
  a(1, v.protocol), a(2, v.listen), a(3, v.queue), a(4, v.routes), a(5, v.usual);
  a(6, v.on_client_gone), a(7, v.half_close), a(8, v.lost_after), a(9, v.job_limit);
  a(10, v.largest_body), a(11, v.patience);
}
template <class A>
void fields(A& a, DoorReplica& v) {
  a(1, v.index), a(2, v.endpoint), a(3, v.state), a(4, v.card);
}
template <class A>
void fields(A& a, Door& v) {
  a(1, v.service), a(2, v.model), a(3, v.replicas);
}
template <class A>
void fields(A& a, DoorPlan& v) {
  a(1, v.door);
}
template <class A>
void fields(A& a, ReplicaSampleNews& v) {
  a(1, v.service), a(2, v.replica), a(3, v.gpu_held), a(4, v.gpu_peak), a(5, v.host_held);
  a(6, v.host_peak), a(7, v.peak_at_ns);
}
template <class A>
void fields(A& a, PoolSampleNews& v) {
  a(1, v.card), a(2, v.total), a(3, v.others);
}
template <class A>
void fields(A& a, GatewayRequest& v) {
  a(1, v.what), a(2, v.doors), a(3, v.service), a(4, v.job), a(5, v.replica), a(6, v.replicas);
  a(7, v.pools);
}
template <class A>
void fields(A& a, JobReport& v) {
  a(1, v.service), a(2, v.id), a(3, v.job_class), a(4, v.waiting), a(5, v.client_gone);
  a(6, v.age), a(7, v.eta), a(8, v.rank), a(9, v.replica), a(10, v.size);
}
template <class A>
void fields(A& a, DoorReport::Replica& v) {
  a(1, v.index), a(2, v.state), a(3, v.in_flight), a(4, v.limit), a(5, v.why);
  a(6, v.gpu_reserved), a(7, v.host_reserved);
}
template <class A>
void fields(A& a, DoorReport& v) {
  a(1, v.service), a(2, v.waiting), a(3, v.in_flight), a(4, v.clients), a(5, v.done);
  a(6, v.failed), a(7, v.refused), a(8, v.cancelled), a(9, v.empty_answers);
  a(10, v.cut_off_answers), a(11, v.replicas);
}
template <class A>
void fields(A& a, GatewayAnswer& v) {
  a(1, v.exit_code), a(2, v.error), a(3, v.jobs), a(4, v.doors);
}

}  // namespace gpuward
