#include <algorithm>
#include <chrono>

#include "domain/judgement.h"

// The words for a decision: no rule stands here.

namespace gpuward {
namespace {

double seconds_since(Instant at, Instant now) {
  return std::max(0.0, std::chrono::duration<double>(now - at).count());
}

std::string count_of(std::uint32_t n, const char* one, const char* many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

void add_context(const ServiceFacts& facts, Instant now, std::vector<Evidence>& list) {
  const auto& context = facts.context;
  if (facts.sight != CardSight::visible || !context.ever) return;
  const double age = seconds_since(context.last_listed, now);
  if (context.listed != 0) {
    list.push_back({"context",
                    count_of(context.listed, "process", "processes") +
                        " of it listed by the driver, " + to_string(context.memory),
                    age});
    return;
  }
  std::string text = "its context has gone from the driver's list";
  if (context.lost_alive == 0) text += "; the processes that had one have ended";
  if (context.may_be_hidden) text += ", which may hide some (MPS)";
  if (context.use_unexplained) text += ", and the card is used by what no row explains";
  list.push_back({"context", std::move(text), age});
}

std::string sight_text(const ServiceFacts& facts) {
  const std::string tail = facts.sight_detail.empty() ? "" : ": " + facts.sight_detail;
  switch (facts.sight) {
    case CardSight::visible:
    case CardSight::no_gpu:
      return {};
    case CardSight::unknown:
      return "cannot be seen at present" + tail;
    case CardSight::foreign_pids:
      return "cannot be told: the driver's pids are of another pid space" + tail;
    case CardSight::hidden:
      return "cannot be seen: a card does not list its processes" + tail;
    case CardSight::hung:
      return "cannot be seen: the card does not answer" + tail;
    case CardSight::mismatch:
      return "cannot be seen: the driver was changed underneath" + tail;
    case CardSight::cut_off:
      return "cannot be seen: this container has lost its devices" + tail;
    case CardSight::lost:
      return "its card is gone" + tail;
  }
  return {};
}

void add_trouble(const ServiceFacts& facts, Instant now, std::vector<Evidence>& list) {
  for (const auto& xid : facts.xids) {
    std::string text = "Xid " + std::to_string(xid.number) + " with pid " +
                       std::to_string(xid.pid.number) + " of it";
    if (!xid.began || *xid.began > xid.at) text += ", which has ended";
    list.push_back({"xid", std::move(text), seconds_since(xid.at, now)});
  }
  if (facts.alarm.kind != LogAlarm::none)
    list.push_back({"log", "told of " + std::string(to_string(facts.alarm.kind)),
                    facts.alarm.at ? seconds_since(*facts.alarm.at, now) : 0});
  if (facts.device_files == Witness::no)
    list.push_back({"device files", "none of its processes has one open", 0});
  if (facts.jobs && facts.jobs->failed_in_a_row != 0)
    list.push_back({"answers",
                    count_of(facts.jobs->failed_in_a_row, "error", "errors") + " in a row",
                    seconds_since(facts.jobs->failing_since, now)});
  if (!facts.canary) return;
  const double age = seconds_since(facts.canary->last, now);
  const auto canary = [&](std::uint32_t times, const char* what) {
    if (times != 0)
      list.push_back({"canary", what + (" " + std::to_string(times)) + " in a row", age});
  };
  canary(facts.canary->failed_in_a_row, "failed");
  canary(facts.canary->silent_in_a_row, "no answer in time,");
  canary(facts.canary->changed_in_a_row, "another answer than the known one,");
  if (facts.canary->changed_in_a_row != 0 && !facts.canary->changed_where.empty())
    list.back().value += ": " + facts.canary->changed_where;
}

void add_work(const ServiceFacts& facts, const Decision& decision, std::vector<Evidence>& list) {
  if (facts.waiting && *facts.waiting != 0)
    list.push_back(
        {"waiting", count_of(*facts.waiting, "connection waits", "connections wait"), 0});
  if (facts.jobs && facts.jobs->in_flight != 0)
    list.push_back({"in flight",
                    count_of(facts.jobs->in_flight, "job", "jobs") + ", the oldest for " +
                        to_string(facts.jobs->oldest) + " (99 of 100 take at most " +
                        to_string(facts.jobs->usual) + ")",
                    0});
  if (facts.gpu_percent && facts.sight == CardSight::visible && facts.context.listed != 0)
    list.push_back({"GPU time", std::to_string(*facts.gpu_percent) + " %", 0});
  if ((decision.reasons & because::nothing_moves) != 0)
    list.push_back({"progress", "none: no GPU time, no CPU time, nothing read, nothing sent", 0});
}

std::string ghost_sentence(const ServiceFacts& facts, const Decision& decision) {
  std::string text = "it lives, but ";
  text += decision.verdict == Verdict::ghost_nocontext ? "its GPU context has gone"
                                                       : "its GPU context is dead, although listed";
  const auto reasons = decision.reasons;
  for (const auto& xid : facts.xids) {
    if ((reasons & because::xid) == 0 || !xid.poisons || !xid.began || *xid.began > xid.at)
      continue;
    text += ": the kernel told of Xid " + std::to_string(xid.number) + " for pid " +
            std::to_string(xid.pid.number);
    return text;
  }
  if ((reasons & because::log_alarm) != 0)
    return text + ": its log told of " + std::string(to_string(facts.alarm.kind));
  if ((reasons & (because::failed_answers | because::canary_failed)) != 0)
    return text + ": its answers are errors, and none used the GPU";
  if ((reasons & because::wanted) != 0) return text + ", and requests wait";
  return text;
}

std::string sentence(const ServiceFacts& facts, const Decision& decision, Instant now) {
  switch (decision.verdict) {
    case Verdict::loading:
      return "loading its model for " + to_string(now - facts.since) + ", " +
             to_string(facts.context.memory) + " on the card so far";
    case Verdict::paused:
      return "paused for " + to_string(now - decision.since);
    case Verdict::parked:
      return "parked for " + to_string(now - decision.since) + ": its GPU memory is in the host";
    case Verdict::ghost_nocontext:
    case Verdict::ghost_sticky:
      return ghost_sentence(facts, decision);
    case Verdict::stalled:
      return "it is asked and nothing moves: no GPU time, no CPU time, nothing sent";
    case Verdict::spinning:
      return "it keeps the GPU busy with nothing in flight";
    case Verdict::answers_changed:
      return "it answers a known question differently than it used to: its answers may be wrong";
    case Verdict::gpu_lost:
      return "it lives, but its card is gone" +
             (facts.sight_detail.empty() ? std::string() : ": " + facts.sight_detail);
    default:
      return {};
  }
}

}  // namespace

Judgement explain(const ServiceFacts& facts, const Decision& decision, Instant now) {
  Judgement judgement;
  judgement.decision = decision;
  judgement.sentence = sentence(facts, decision, now);
  const bool lives = facts.phase == Phase::ready || facts.phase == Phase::starting;
  if (!lives) return judgement;
  add_trouble(facts, now, judgement.evidence);
  add_context(facts, now, judgement.evidence);
  add_work(facts, decision, judgement.evidence);
  // Of a service that was never seen on a card, that there is none to be seen is no news.
  const bool concerns = facts.context.ever || facts.sight >= CardSight::foreign_pids;
  if (auto text = sight_text(facts); concerns && !text.empty())
    judgement.evidence.push_back({"GPU", std::move(text), 0});
  if (!facts.restarts_blocked.empty())
    judgement.evidence.push_back({"driver", facts.restarts_blocked, 0});
  return judgement;
}

}  // namespace gpuward
