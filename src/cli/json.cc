#include "cli/json.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/utf8.h"
#include "os/proc_fs.h"

namespace gpuward::cli {
namespace {

namespace json = boost::json;

json::value or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::object replica_json(const ReplicaReport& replica) {
  json::array tree;
  for (const auto& process : replica.tree)
    tree.push_back({{"pid", process.pid.number},
                    {"ppid", process.parent.number},
                    {"depth", process.depth},
                    {"command", process.command}});
  return {
      {"index", replica.index},
      {"anchor_pid", replica.anchor ? json::value(replica.anchor.number) : json::value(nullptr)},
      {"main_pid", replica.main ? json::value(replica.main.number) : json::value(nullptr)},
      {"generation", replica.generation},
      {"processes", replica.processes},
      {"tree", std::move(tree)},
      {"gpu_memory_bytes",
       replica.gpu_memory ? json::value(replica.gpu_memory->count) : json::value(nullptr)},
      {"endpoint", or_null(replica.endpoint)},
      {"log_lost_bytes", replica.log_lost.count}};
}

json::object canary_json(const CanaryReport& canary) {
  const bool ended = canary.last != CanaryResult::none;
  return {{"question", canary.question},
          {"golden", canary.golden},
          {"result", ended ? json::value(to_string(canary.last)) : json::value(nullptr)},
          {"detail", or_null(canary.detail)},
          {"age_seconds", ended ? json::value(canary.age_seconds) : json::value(nullptr)},
          {"ended", canary.ended},
          {"failed_in_a_row", canary.failed_in_a_row},
          {"silent_in_a_row", canary.silent_in_a_row},
          {"changed_in_a_row", canary.changed_in_a_row},
          {"trouble", or_null(canary.trouble)}};
}

json::object service_json(const ServiceReport& service) {
  json::array evidence;
  for (const auto& fact : service.evidence)
    evidence.push_back(
        {{"what", fact.what}, {"value", fact.value}, {"age_seconds", fact.age_seconds}});
  json::array replicas;
  for (const auto& replica : service.replicas) replicas.push_back(replica_json(replica));
  return {
      {"name", service.name},
      {"verdict", to_string(service.verdict)},
      {"sentence", service.sentence},
      {"evidence", std::move(evidence)},
      {"witnesses", service.witnesses},
      {"verdict_age_seconds", service.verdict_age_seconds},
      {"action", to_string(service.action)},
      {"advice", or_null(std::string(describe(service.action)))},
      {"containment",
       service.containment ? json::value(to_string(*service.containment)) : json::value(nullptr)},
      {"listen", or_null(service.listen)},
      {"memory_proof",
       service.memory_proof ? json::value(to_string(*service.memory_proof)) : json::value(nullptr)},
      {"restarts", service.restarts},
      {"canary", service.canary ? json::value(canary_json(*service.canary)) : json::value(nullptr)},
      {"replicas", std::move(replicas)}};
}

json::object incident_json(const CardIncident& incident) {
  return {{"pci", or_null(incident.pci)},
          {"xid", incident.xid},
          {"in_words", incident.in_words},
          {"class", to_string(incident.xid_class)},
          {"action", to_string(incident.action)},
          {"consequence", to_string(incident.consequence)},
          {"pid", incident.pid ? json::value(*incident.pid) : json::value(nullptr)},
          {"process", or_null(incident.process)},
          {"service", or_null(incident.service)},
          {"times", incident.times},
          {"first_age_seconds", incident.first_age_seconds},
          {"age_seconds", incident.age_seconds},
          {"sentence", incident.sentence}};
}

// Those of one card; "" for those of none that is seen.
json::array incidents_json(const StatusReport& report, std::string_view uuid) {
  json::array list;
  for (const auto& incident : report.incidents) {
    const bool seen = std::ranges::find(report.gpu.devices, incident.gpu_uuid, &GpuDevice::uuid) !=
                      report.gpu.devices.end();
    if (seen ? incident.gpu_uuid == uuid : uuid.empty()) list.push_back(incident_json(incident));
  }
  return list;
}

json::value kernel_log_json(const StatusReport& report) {
  if (!report.kernel_log) return nullptr;
  const auto& log = *report.kernel_log;
  return json::object{{"path", or_null(log.path)},
                      {"state", to_string(log.sight)},
                      {"note", or_null(describe(log))},
                      {"lost_records", log.lost}};
}

// "reason" and "advice" are null for a card that is free to be used.
void add_mark(json::object& card, const CardMark& mark) {
  card["cordoned"] = mark.cordoned;
  card["quarantined"] = mark.quarantined;
  card["reason"] = or_null(describe(mark));
  card["advice"] = or_null(mark.quarantined ? advice_for(mark.remedy, mark.index) : std::string());
  card["standing"] = to_string(mark.standing);
}

// 0: the driver does not tell it apart from what is used.
json::value reserved_json(const GpuDevice& device) {
  const auto reserved = device.memory_reserved.count;
  return reserved != 0 ? json::value(reserved) : json::value(nullptr);
}

}  // namespace

json::object device_json(const GpuDevice& device, const std::vector<CardMark>& marks, Instant now) {
  const auto age = age_of(device, now.time_since_epoch() / std::chrono::nanoseconds(1));
  json::object card = {
      {"uuid", device.uuid},
      {"index", device.index},
      {"name", device.name},
      {"memory_total_bytes", device.memory_total.count},
      {"memory_used_bytes", device.memory_used.count},
      {"memory_reserved_bytes", reserved_json(device)},
      {"busy_percent",
       device.busy_percent ? json::value(*device.busy_percent) : json::value(nullptr)},
      {"age_seconds",
       age ? json::value(std::chrono::duration<double>(*age).count()) : json::value(nullptr)},
      {"state", to_string(device.state)},
      {"detail", or_null(device.detail)}};
  const auto mark = std::ranges::find(marks, device.uuid, &CardMark::uuid);
  add_mark(card, mark == marks.end() ? CardMark{} : *mark);
  return card;
}

std::string status_json(const StatusReport& report, Instant now) {
  json::object root;
  root["warden"] = nullptr;
  if (report.warden)
    root["warden"] = {{"pid", report.warden->pid.number},
                      {"version", report.warden->version},
                      {"uptime_seconds", report.warden->uptime_seconds},
                      {"ledger_trouble", or_null(report.warden->ledger_trouble)}};
  json::array gpus;
  for (const auto& device : report.gpu.devices) {
    auto card = device_json(device, report.cards, now);
    card["incidents"] = incidents_json(report, device.uuid);
    gpus.push_back(std::move(card));
  }
  root["gpus"] = std::move(gpus);
  root["restarts_blocked"] = or_null(restarts_blocked(report.gpu));
  root["gpus_note"] = or_null(describe(report.gpu.sight, report.gpu.detail));
  root["incidents_elsewhere"] = incidents_json(report, {});
  root["kernel_log"] = kernel_log_json(report);
  json::array services;
  for (const auto& service : report.services) services.push_back(service_json(service));
  root["services"] = std::move(services);
  return printable(json::serialize(root)) + "\n";
}

namespace {

json::array receipts_json(const std::vector<NamedReceipt>& receipts) {
  json::array list;
  for (const auto& [service, replica, receipt] : receipts) {
    json::array survivors;
    for (const auto& left : receipt.survivors)
      survivors.push_back(
          {{"pid", left.pid.number},
           {"command", left.name.view()},
           {"state", std::string(1, static_cast<char>(left.state))},
           {"killed_for_seconds", std::chrono::duration<double>(left.killed_for).count()},
           {"wchan", or_null(std::string(left.wchan.view()))},
           {"in_container", left.in_container}});
    json::array ports;
    for (const auto port : receipt.ports_freed) ports.push_back(port);
    json::array held;
    for (const auto port : receipt.ports_held) held.push_back(port);
    json::array released;
    for (const auto& process : receipt.released.list) {
      // Not as a list of two pairs: that is taken for one pair, a text of so many bytes and a
      // value.
      auto& item = released.emplace_back(json::object()).get_object();
      item["pid"] = process.id.pid.number;
      item["command"] = process.name.view();
    }
    list.push_back({{"service", service},
                    {"replica", replica},
                    {"processes_ended", receipt.processes_ended},
                    {"survivors", std::move(survivors)},
                    {"ports_freed", std::move(ports)},
                    {"ports_held", std::move(held)},
                    {"ports_unknown", receipt.ports_unknown},
                    {"only_seen", receipt.only_seen},
                    {"container", or_null(short_id(receipt.container))},
                    {"container_proof", receipt.container_proof == ContainerProof::not_judged
                                            ? json::value(nullptr)
                                            : json::value(to_string(receipt.container_proof))},
                    {"gpu_bytes_returned", receipt.gpu_bytes_returned.count},
                    {"memory_proof", to_string(receipt.memory)},
                    {"released", std::move(released)},
                    {"released_more", receipt.released.more},
                    {"released_all", receipt.released.all},
                    {"release_trouble", or_null(std::string(receipt.released.trouble.view()))},
                    {"forced", receipt.forced},
                    {"duration_seconds", std::chrono::duration<double>(receipt.duration).count()}});
  }
  return list;
}

}  // namespace

std::string stop_json(const std::vector<NamedReceipt>& receipts) {
  return printable(json::serialize(json::object{{"receipts", receipts_json(receipts)}})) + "\n";
}

std::string card_json(const CardAnswer& card, const std::vector<NamedReceipt>& receipts) {
  json::object gpu = {
      {"uuid", card.mark.uuid}, {"index", card.mark.index}, {"name", card.mark.name}};
  add_mark(gpu, card.mark);
  json::array holders;
  for (const auto& holder : card.holders) {
    const auto command = holder.id.start_ticks != 0
                             ? os::read_command(holder.id.pid, 300)
                             : Result<std::string>(fail(Errc::not_found, "read a command"));
    holders.push_back({{"pid", holder.id.pid.number},
                       {"start_time_ticks", holder.id.start_ticks},
                       {"service", or_null(holder.service)},
                       {"gpu_memory_bytes",
                        holder.memory ? json::value(holder.memory->count) : json::value(nullptr)},
                       {"command", or_null(command ? *command : std::string())}});
  }
  const json::object root = {{"gpu", std::move(gpu)},
                             {"holders", std::move(holders)},
                             {"holders_visible", card.holders_visible},
                             {"receipts", receipts_json(receipts)}};
  return printable(json::serialize(root)) + "\n";
}

}  // namespace gpuward::cli
