#include "config/door_reader.h"

#include <array>
#include <charconv>
#include <chrono>

#include "config/readiness.h"

namespace gpuward::config {
namespace {

using namespace std::chrono_literals;

constexpr const char* kListen = R"("0.0.0.0:7860", "127.0.0.1:7860" or "[::]:7860")";
constexpr const char* kClasses =
    R"("emergency", "interactive", "batch", or "pass" for what is no job)";
constexpr Range kDeadline{1s, 24h * 7, "1s to 7d"};
constexpr Range kPatience{1s, 1h, "1s to 1h"};
constexpr Range kLostAfter{3s, 1h, "3s to 1h"};
constexpr Sizes kUploads{1_KiB, 1024_GiB, "1KiB to 1TiB"};
constexpr Sizes kWaitingBytes{1_MiB, 1024_GiB, "1MiB to 1TiB"};
constexpr std::size_t kLongestPrefix = 1000;

std::optional<JobClass> class_named(std::string_view word) {
  for (const auto one : {JobClass::emergency, JobClass::interactive, JobClass::batch})
    if (word == name(one)) return one;
  return std::nullopt;
}

void read_count(TableReader& service, const Node& table, std::string_view key, std::uint32_t low,
                std::uint32_t high, std::uint32_t& into) {
  const Entry* entry = table.find(key);
  if (entry == nullptr) return;
  std::uint32_t value = 0;
  const std::string& text = entry->value.text;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = code == std::errc{} && end == text.data() + text.size();
  if (entry->value.kind == Kind::integer && whole && value >= low && value <= high)
    into = value;
  else
    service.add(entry->value.place, "'queue." + std::string(key) + "' is no such number",
                std::to_string(low) + " to " + std::to_string(high));
}

void read_protocol(TableReader& service, DoorModel& door) {
  const Entry* entry = service.find("protocol");
  if (entry == nullptr) return;
  const std::string expected = R"("http" or "openai")";
  const std::string* text = service.string(entry->value, "protocol");
  if (text == nullptr) return;
  const auto protocol = protocol_named(*text);
  if (!protocol)
    return service.add(entry->value.place, "'protocol' does not know " + in_quotes(*text),
                       expected);
  if (*protocol == Protocol::gradio || *protocol == Protocol::comfyui)
    return service.add(entry->value.place,
                       "'protocol' " + in_quotes(*text) + " is not supported yet", expected);
  door.protocol = *protocol;
}

// One time is that of interactive jobs, which most are.
void read_deadline(TableReader& service, const Node& queue, QueueSettings& settings) {
  const Entry* entry = queue.find("deadline");
  if (entry == nullptr) return;
  auto& interactive = settings.classes[static_cast<std::size_t>(JobClass::interactive)];
  if (entry->value.kind != Kind::table) {
    service.duration(queue, "queue", "deadline", kDeadline, interactive.deadline);
    return;
  }
  for (const Entry& one : entry->value.entries) {
    const auto job_class = class_named(one.key);
    if (!job_class) {
      service.add(one.place, "'queue.deadline' does not know " + in_quotes(one.key),
                  "emergency, interactive or batch");
      continue;
    }
    service.duration(entry->value, "queue.deadline", one.key, kDeadline,
                     settings.classes[static_cast<std::size_t>(*job_class)].deadline);
  }
}

void read_classes(TableReader& service, const Node& queue, DoorModel& door) {
  const Entry* entry = queue.find("classes");
  if (entry == nullptr) return;
  if (entry->value.kind != Kind::table)
    return service.wrong_type(entry->value, "queue.classes",
                              R"(a table: { "/urgent" = "emergency", "/health" = "pass" })");
  for (const Entry& one : entry->value.entries) {
    if (!one.key.starts_with('/') || one.key.size() > kLongestPrefix) {
      service.add(one.place, "'queue.classes': " + in_quotes(one.key.substr(0, 80)) + " is no path",
                  R"(the beginning of one: "/health")");
      continue;
    }
    const std::string* word = service.string(one.value, "queue.classes");
    if (word == nullptr) continue;
    const auto job_class = class_named(*word);
    if (!job_class && *word != "pass")
      service.add(one.value.place, "'queue.classes' does not know " + in_quotes(*word), kClasses);
    else if (door.routes.size() == kMostClassRoutes)
      return service.add(one.place, "'queue.classes' has more than is kept",
                         "at most " + std::to_string(kMostClassRoutes));
    else
      door.routes.push_back({.prefix = one.key,
                             .job_class = job_class.value_or(JobClass::interactive),
                             .pass = !job_class});
  }
}

void read_queue(TableReader& service, DoorModel& door) {
  const Node* queue = service.subtable("queue", R"(a table: { max = 200, deadline = "120s" })");
  if (queue == nullptr) return;
  std::uint32_t most = QueueSettings::Class{}.most_jobs;
  Bytes bytes = QueueSettings::Class{}.most_bytes;
  read_count(service, *queue, "max", 1, 10'000, most);
  service.bytes(*queue, "queue", "bytes", kWaitingBytes, bytes);
  for (auto& of : door.queue.classes) {
    of.most_jobs = most;
    of.most_bytes = bytes;
  }
  read_count(service, *queue, "per_caller", 0, 10'000, door.queue.most_per_caller);
  read_deadline(service, *queue, door.queue);
  read_classes(service, *queue, door);
  if (queue->find("job_limit") != nullptr)
    service.duration(*queue, "queue", "job_limit", kDeadline, door.job_limit.emplace());
  const Entry* usual = queue->find("usual");
  if (usual == nullptr) return;
  const std::string* word = service.string(usual->value, "queue.usual");
  if (word == nullptr) return;
  if (const auto job_class = class_named(*word))
    door.usual = *job_class;
  else
    service.add(usual->value.place, "'queue.usual' does not know " + in_quotes(*word),
                R"("emergency", "interactive" or "batch")");
}

void read_client(TableReader& service, DoorModel& door) {
  if (const Entry* gone = service.find("on_client_gone")) {
    const std::string expected = R"("auto", "close" or "drain")";
    const std::string* word = service.string(gone->value, "on_client_gone");
    const auto what = word != nullptr ? on_client_gone_named(*word) : std::nullopt;
    if (what)
      door.on_client_gone = *what;
    else if (word != nullptr)
      service.add(gone->value.place, "'on_client_gone' does not know " + in_quotes(*word),
                  expected);
  }
  const Node* client = service.subtable("client", R"(a table: { lost_after = "30s" })");
  if (client == nullptr) return;
  service.truth(*client, "client", "half_close", door.half_close);
  service.duration(*client, "client", "lost_after", kLostAfter, door.lost_after);
  service.duration(*client, "client", "patience", kPatience, door.patience);
  service.bytes(*client, "client", "largest_body", kUploads, door.largest_body);
}

bool is_known_place(const ServiceModel& model) {
  const bool asked = model.ready.kind == ReadyKind::http || model.ready.kind == ReadyKind::tcp;
  return wants_port(model) || asked;
}

}  // namespace

void read_door(TableReader& service, ServiceModel& model) {
  const Entry* listen = service.find("listen");
  if (listen == nullptr) {
    for (const char* key : {"protocol", "queue", "client", "on_client_gone"})
      if (const Entry* entry = service.find(key))
        service.add(entry->place, "'" + std::string(key) + "' has nothing to work on",
                    "'listen' beside it: where the gateway listens for this service");
    return;
  }
  DoorModel door;
  if (const std::string* text = service.string(listen->value, "listen")) {
    const auto address = parse_tcp_target(*text);
    if (!address)
      service.add(listen->value.place, "'listen': " + address.error().what, kListen);
    else if (text->find("{port}") != text->npos || text->ends_with(":0"))
      service.add(listen->value.place, "'listen' needs a port that others know", kListen);
    else
      door.listen = *text;
  }
  if (!is_known_place(model))
    service.add(listen->place, "the gateway cannot know where this service listens",
                R"({port} in 'command', or ready = { http = "127.0.0.1:7861/" })");
  read_protocol(service, door);
  read_queue(service, door);
  read_client(service, door);
  model.door = std::move(door);
}

}  // namespace gpuward::config
