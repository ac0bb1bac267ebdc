#include "cli/jobs.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>

#include "cli/warden_client.h"
#include "control/channel.h"
#include "control/gateway_messages.h"
#include "domain/exit_code.h"
#include "os/clock.h"
#include "os/socket.h"

namespace gpuward::cli {
namespace {

constexpr auto kAnswerWithin = std::chrono::seconds(5);

int no_gateway() {
  std::fputs(
      "gpuward: no gateway runs here\n"
      "a service stands behind one when its file says 'listen'; run: gpuward up\n",
      stderr);
  return kNoWarden;
}

/// @param code  what to end with, where there is no answer or a refusal.
std::optional<GatewayAnswer> ask_gateway(const GatewayRequest& request, int* code) {
  const auto home = home_or_complain(code);
  if (!home) return std::nullopt;
  auto folder = os::Fd::open(home->run + "/gateway", O_PATH | O_DIRECTORY);
  auto socket = folder ? os::connect_unix_at(*folder, "control")
                       : Result<os::Fd>(fail(std::move(folder).error()));
  if (!socket) {
    *code = no_gateway();
    return std::nullopt;
  }
  control::Channel channel(std::move(*socket), wire::kMaxLarge);
  const Instant by = os::now() + kAnswerWithin;
  const auto sent = channel.send(request, by);
  auto body = sent ? channel.receive(by) : Result<wire::Body>(fail(sent.error()));
  auto answer = body ? wire::decode<GatewayAnswer>(*body)
                     : Result<GatewayAnswer>(fail(std::move(body).error()));
  if (!answer) {
    *code = complain(answer.error());
    return std::nullopt;
  }
  if (!answer->error.empty()) std::fprintf(stderr, "gpuward: %s\n", answer->error.c_str());
  *code = answer->exit_code;
  return std::move(*answer);
}

// First who is in, then who waits, in their order.
void sort_jobs(std::vector<JobReport>& jobs) {
  std::ranges::sort(jobs, [](const JobReport& a, const JobReport& b) {
    return std::tuple(a.waiting, a.rank, a.id) < std::tuple(b.waiting, b.rank, b.id);
  });
}

std::string state_text(const JobReport& job) {
  if (job.waiting) return "waits, " + std::to_string(job.rank) + " in line";
  std::string text = "in";
  if (job.replica) text += ", replica " + std::to_string(*job.replica);
  if (job.client_gone) text += ", its client has left";
  return text;
}

void print_table(const std::vector<JobReport>& jobs) {
  std::printf("%-18s %-12s %-34s %10s %10s %10s\n", "JOB", "CLASS", "STATE", "AGE", "STARTS IN",
              "SIZE");
  for (const JobReport& job : jobs)
    std::printf("%-18llu %-12s %-34s %10s %10s %10s\n", static_cast<unsigned long long>(job.id),
                std::string(name(job.job_class)).c_str(), state_text(job).c_str(),
                to_string(job.age).c_str(), job.eta ? to_string(*job.eta).c_str() : "-",
                to_string(job.size).c_str());
}

// "replica 0: ready, 1 of 2 at a time (it grew)": how many may be in is learned.
std::string limit_text(const DoorReport::Replica& replica) {
  return "replica " + std::to_string(replica.index) + ": " + std::string(name(replica.state)) +
         ", " + std::to_string(replica.in_flight) + " of " + std::to_string(replica.limit) +
         " at a time (" + replica.why + ")";
}

void print_door(const DoorReport& door) {
  for (const auto& replica : door.replicas) std::printf("%s\n", limit_text(replica).c_str());
  std::printf(
      "since the gateway began: %llu done, %llu failed, %llu refused, %llu cancelled, %llu empty, "
      "%llu cut off\n",
      static_cast<unsigned long long>(door.done), static_cast<unsigned long long>(door.failed),
      static_cast<unsigned long long>(door.refused),
      static_cast<unsigned long long>(door.cancelled),
      static_cast<unsigned long long>(door.empty_answers),
      static_cast<unsigned long long>(door.cut_off_answers));
}

boost::json::object json_of(const DoorReport& door) {
  boost::json::array replicas;
  for (const auto& replica : door.replicas)
    replicas.push_back({{"index", replica.index},
                        {"state", name(replica.state)},
                        {"in_flight", replica.in_flight},
                        {"limit", replica.limit},
                        {"why", replica.why},
                        {"gpu_reserved_bytes", replica.gpu_reserved.count},
                        {"host_reserved_bytes", replica.host_reserved.count}});
  return {{"waiting", door.waiting},
          {"in_flight", door.in_flight},
          {"clients", door.clients},
          {"done", door.done},
          {"failed", door.failed},
          {"refused", door.refused},
          {"cancelled", door.cancelled},
          {"empty_answers", door.empty_answers},
          {"cut_off_answers", door.cut_off_answers},
          {"replicas", std::move(replicas)}};
}

boost::json::object json_of(const JobReport& job) {
  boost::json::object row;
  row["service"] = job.service;
  row["id"] = job.id;
  row["class"] = name(job.job_class);
  row["waiting"] = job.waiting;
  row["rank"] = job.waiting ? boost::json::value(job.rank) : boost::json::value(nullptr);
  row["age_seconds"] = std::chrono::duration<double>(job.age).count();
  row["eta_seconds"] = job.eta ? boost::json::value(std::chrono::duration<double>(*job.eta).count())
                               : boost::json::value(nullptr);
  row["replica"] = job.replica ? boost::json::value(*job.replica) : boost::json::value(nullptr);
  row["client_gone"] = job.client_gone;
  row["size_bytes"] = job.size.count;
  return row;
}

}  // namespace

int jobs(const std::string& service, bool json) {
  int code = kDone;
  auto answer = ask_gateway({.what = GatewayRequest::What::jobs, .service = service}, &code);
  if (!answer || code != kDone) return code;
  sort_jobs(answer->jobs);
  const auto status = ask_gateway({.what = GatewayRequest::What::status}, &code);
  if (!status || code != kDone) return code;
  const auto door = std::ranges::find(status->doors, service, &DoorReport::service);
  if (door == status->doors.end()) return kFailed;  // it was just closed
  if (json) {
    boost::json::array rows;
    for (const JobReport& job : answer->jobs) rows.push_back(json_of(job));
    std::printf("%s\n", boost::json::serialize(
                            boost::json::object{{"jobs", rows}, {"door", json_of(*door)}})
                            .c_str());
    return code;
  }
  if (answer->jobs.empty())
    std::printf("no job of %s waits or runs\n", service.c_str());
  else
    print_table(answer->jobs);
  print_door(*door);
  if (!answer->jobs.empty()) std::printf("next: gpuward cancel JOB\n");
  return code;
}

int cancel(std::uint64_t job) {
  int code = kDone;
  const auto answer = ask_gateway({.what = GatewayRequest::What::cancel, .job = job}, &code);
  if (answer && code == kDone)
    std::printf("job %llu is cancelled\n", static_cast<unsigned long long>(job));
  return code;
}

}  // namespace gpuward::cli
