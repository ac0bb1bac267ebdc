#include "domain/job.h"

#include <algorithm>

namespace gpuward {

std::string_view name(JobClass job_class) {
  switch (job_class) {
    case JobClass::emergency:
      return "emergency";
    case JobClass::interactive:
      return "interactive";
    case JobClass::batch:
      return "batch";
  }
  return "unknown";
}

std::string_view name(RefusalReason reason) {
  switch (reason) {
    case RefusalReason::queue_full:
      return "queue_full";
    case RefusalReason::queue_bytes_full:
      return "queue_bytes_full";
    case RefusalReason::displaced:
      return "displaced";
    case RefusalReason::over_quota:
      return "over_quota";
    case RefusalReason::cannot_finish:
      return "cannot_finish";
    case RefusalReason::too_late:
      return "too_late";
    case RefusalReason::does_not_fit_gpu:
      return "does_not_fit_gpu";
    case RefusalReason::does_not_fit_host:
      return "does_not_fit_host";
    case RefusalReason::no_replica:
      return "no_replica";
    case RefusalReason::shutting_down:
      return "shutting_down";
  }
  return "unknown";
}

int http_status(RefusalReason reason) {
  switch (reason) {
    case RefusalReason::over_quota:
      return 429;
    case RefusalReason::too_late:
      return 504;
    case RefusalReason::does_not_fit_gpu:
    case RefusalReason::does_not_fit_host:
      return 413;
    default:
      return 503;
  }
}

namespace {

std::string in_words(const std::optional<Duration>& duration) {
  return duration ? to_string(std::max(*duration, Duration{})) : "an unknown time";
}

std::string fits(const Refusal& refusal, std::string_view whose) {
  return "needs " + to_string(refusal.needed.value_or(Bytes{})) + " of " + std::string(whose) +
         " memory; with nothing else there, " + to_string(refusal.available.value_or(Bytes{})) +
         " are free";
}

}  // namespace

std::string describe(const Refusal& refusal) {
  const auto waiting = refusal.waiting.value_or(0);
  const auto limit = refusal.limit.value_or(0);
  switch (refusal.reason) {
    case RefusalReason::queue_full:
      return "the queue is full: " + std::to_string(waiting) + " jobs wait, " +
             std::to_string(limit) + " may";
    case RefusalReason::queue_bytes_full:
      return "the queue is full: " + to_string(Bytes{waiting}) + " wait, " +
             to_string(Bytes{limit}) + " may";
    case RefusalReason::displaced:
      return "the queue is full, and a more urgent job came";
    case RefusalReason::over_quota:
      return std::to_string(waiting) + " jobs of this caller wait, " + std::to_string(limit) +
             " may";
    case RefusalReason::cannot_finish:
      return "cannot finish in time: it would start in " + in_words(refusal.eta) + " and take " +
             in_words(refusal.service) + ", with " + in_words(refusal.left) + " left";
    case RefusalReason::too_late:
      return "can no longer finish in time: it takes " + in_words(refusal.service) + ", with " +
             in_words(refusal.left) + " left";
    case RefusalReason::does_not_fit_gpu:
      return fits(refusal, "GPU");
    case RefusalReason::does_not_fit_host:
      return fits(refusal, "the host's");
    case RefusalReason::no_replica:
      return "no replica of the service is up";
    case RefusalReason::shutting_down:
      return "the service is being stopped";
  }
  return "refused";
}

std::chrono::seconds retry_after(Duration wait, std::uint64_t salt) {
  constexpr double kLeast = 1;
  constexpr double kMost = 3600;
  const double seconds = std::clamp(std::chrono::duration<double>(wait).count(), kLeast, kMost);
  const double part = static_cast<double>((salt * 0x9e3779b97f4a7c15ULL) >> 40U) / (1U << 24U);
  const double jittered = std::min(seconds * (1 + part / 5), kMost);
  return std::chrono::ceil<std::chrono::seconds>(std::chrono::duration<double>(jittered));
}

bool may_retry(const RetryFacts& facts) {
  return facts.replica_failed && facts.nothing_answered && facts.not_started && facts.replayable &&
         facts.client_waits && facts.tries == 1;
}

}  // namespace gpuward
