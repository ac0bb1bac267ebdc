#pragma once

#include "domain/judgement.h"

// Facts as a healthy service gives them, to be spoiled by a test, and a clock that goes by hand.

namespace gpuward::judged {

using std::chrono::milliseconds;
using std::chrono::seconds;

inline const Instant kBegin{std::chrono::hours(1)};

/// A ready service that has had its context since the beginning and waits for requests.
inline ServiceFacts idle_engine() {
  ServiceFacts facts;
  facts.phase = Phase::ready;
  facts.generation = 1;
  facts.since = kBegin - seconds(100);
  facts.sight = CardSight::visible;
  facts.context.listed = 1;
  facts.context.ever = true;
  facts.context.last_listed = kBegin;
  facts.context.newest_listed = kBegin - seconds(90);
  facts.context.memory = 4_GiB;
  facts.gpu_percent = 0;
  facts.waiting = 0;
  facts.progress.cpu_ns = 0;
  facts.progress.io_bytes = 0;
  facts.progress.out_bytes = 0;
  facts.progress.processes = 2;
  return facts;
}

/// One service and the time: look(n) judges each half second and keeps its last listing fresh.
struct Ward {
  ServiceFacts facts = idle_engine();
  VerdictMemory memory;
  Instant now = kBegin;

  Decision look() { return decide(facts, memory, now); }
  Decision look(Duration during) {
    Decision decision = look();
    for (const Instant end = now + during; now < end;) {
      now += milliseconds(500);
      if (facts.context.listed != 0) facts.context.last_listed = now;
      decision = look();
    }
    return decision;
  }
  Judgement words() { return explain(facts, look(), now); }

  void lose_context(bool holder_lives = true) {
    facts.context.listed = 0;
    facts.context.memory = {};
    facts.context.lost_alive = holder_lives ? 1 : 0;
  }
  void tell_of(LogAlarm alarm) { facts.alarm = {alarm, now}; }
  void strike(std::uint32_t number, bool poisons = true) {
    XidFact xid;
    xid.number = number;
    xid.pid = Pid{4711};
    xid.at = now;
    xid.poisons = poisons;
    xid.began = facts.since;
    facts.xids.push_back(xid);
  }
  JobFacts& jobs() {
    if (!facts.jobs) facts.jobs.emplace();
    return *facts.jobs;
  }
};

}  // namespace gpuward::judged
