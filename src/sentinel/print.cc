#include "sentinel/print.h"

#include <cstdio>
#include <type_traits>

#include "domain/gpu_readings.h"

namespace gpuward::sentinel {
namespace {

const char* name_of_kind(std::uint8_t kind) {
  return kind == 0 ? "compute" : kind == 1 ? "graphics" : kind == 2 ? "mps" : "other";
}

/// Writes JSON into a string: commas where they belong.
class Json {
 public:
  void open(char bracket) { comma(), text_ += bracket, first_ = true; }
  void close(char bracket) { text_ += bracket, first_ = false; }
  Json& key(const char* name) {
    string(name);
    text_ += ':', first_ = true;
    return *this;
  }
  void string(std::string_view value) {
    comma();
    text_ += '"';
    for (const char c : value) {
      const auto byte = static_cast<unsigned char>(c);
      if (c == '"' || c == '\\')
        text_ += '\\', text_ += c;
      else
        text_ += byte < 0x20 || byte >= 0x7f ? '?' : c;  // the driver's texts are ASCII
    }
    text_ += '"';
  }
  void raw(std::string_view value) { comma(), text_ += value; }
  void boolean(bool value) { raw(value ? "true" : "false"); }
  template <class Number>
  void number(Number value) {
    raw(std::to_string(value));
  }
  template <class Maybe>
  void maybe(const Maybe& value) {
    if (value)
      number(*value);
    else
      raw("null");
  }
  std::string take() { return std::move(text_); }

 private:
  void comma() {
    if (!first_) text_ += ',';
    first_ = false;
  }
  std::string text_;
  bool first_ = true;
};

std::string percent(const Reading<std::uint32_t>& value) {
  return value ? std::to_string(*value) + " %" : "-";
}

template <class T>
void put_value(Json& json, const T& value) {
  if constexpr (std::is_same_v<T, bool>)
    json.boolean(value);
  else if constexpr (std::is_enum_v<T>)
    json.string(to_string(value));
  else
    json.number(value);
}

/// A reading that nobody asked for is left out; what is missing says why.
template <class T>
void put(Json& json, const char* name, const Reading<T>& reading) {
  if (reading.blank()) return;
  json.key(name).open('{');
  json.key("value");
  if (reading)
    put_value(json, *reading);
  else
    json.raw("null");
  json.key("answer").string(to_string(reading.answer));
  json.key("read_ns").number(reading.read_ns);
  json.close('}');
}

void put(Json& json, const GpuInstance& instance) {
  json.open('{');
  json.key("uuid").string(instance.uuid);
  json.key("gpu_instance").number(instance.gpu_instance);
  json.key("compute_instance").number(instance.compute_instance);
  json.key("memory_total_bytes").number(instance.memory_total.count);
  json.key("memory_used_bytes").number(instance.memory_used.count);
  json.key("multiprocessors").number(instance.multiprocessors);
  json.close('}');
}

void put(Json& json, const GpuEnded& ended) {
  json.open('{');
  json.key("pid").number(ended.pid);
  json.key("gpu_percent").number(ended.gpu_percent);
  json.key("memory_percent").number(ended.memory_percent);
  json.key("memory_peak_bytes").number(ended.memory_peak.count);
  json.key("lived_ms").number(ended.lived_ms);
  json.key("start_unix_us").number(ended.start_unix_us);
  json.close('}');
}

void put(Json& json, const GpuNeighbour& neighbour) {
  json.open('{');
  json.key("index").number(neighbour.index);
  json.key("distance").string(to_string(neighbour.distance));
  json.close('}');
}

template <class T>
void put_list(Json& json, const char* name, const std::vector<T>& items) {
  json.key(name).open('[');
  for (const T& item : items) put(json, item);
  json.close(']');
}

void put(Json& json, const GpuProcess& process) {
  json.open('{');
  json.key("pid").number(process.pid);
  json.key("start_ticks").number(process.start_ticks);
  json.key("memory_used_bytes")
      .maybe(process.memory ? std::optional(process.memory->count) : std::nullopt);
  json.key("sm_percent").maybe(process.sm_percent);
  json.key("kind").string(name_of_kind(process.kind));
  json.key("pairing").string(to_string(process.pairing));
  json.key("memory_answer").string(to_string(process.memory.answer));
  json.key("sm_answer").string(to_string(process.sm_percent.answer));
  json.key("gpu_instance").maybe(process.gpu_instance);
  json.key("compute_instance").maybe(process.compute_instance);
  json.close('}');
}

void put(Json& json, const GpuDevice& device) {
  json.open('{');
  json.key("index").number(device.index);
  json.key("uuid").string(device.uuid);
  json.key("name").string(device.name);
  json.key("state").string(std::string(to_string(device.state)));
  json.key("memory_total_bytes").number(device.memory_total.count);
  json.key("memory_used_bytes").number(device.memory_used.count);
  json.key("busy_percent").maybe(device.busy_percent);
  json.key("read_ns").number(device.read_ns);
  json.key("detail").string(device.detail);
  json.key("memory_reserved_bytes").number(device.memory_reserved.count);
  json.key("memory_answer").string(to_string(device.memory_answer));
  json.key("pci_bus_id").string(device.place.pci_bus_id);
  json.key("local_cpus").string(device.place.local_cpus);
  json.key("readings").open('{');
  for_each_reading(device,
                   [&](const char* name, const auto& reading) { put(json, name, reading); });
  put(json, "advice", device.errors.advice);
  json.close('}');
  put_list(json, "neighbours", device.place.neighbours);
  put_list(json, "instances", device.instances);
  put_list(json, "ended", device.ended);
  json.key("processes_visible").boolean(device.processes_visible);
  json.key("processes_answer").string(to_string(device.processes_answer));
  json.key("rows_refused").number(device.rows_refused);
  json.key("rows_cut").number(device.rows_cut);
  put_list(json, "processes", device.processes);
  json.close('}');
}

}  // namespace

std::string json_of(const GpuSnapshot& snapshot) {
  Json json;
  json.open('{');
  json.key("sight").string(to_string(snapshot.sight));
  json.key("detail").string(snapshot.detail);
  json.key("sentence").string(describe(snapshot.sight, snapshot.detail));
  json.key("pids_are_ours").boolean(snapshot.pids_are_ours);
  json.key("taken_ns").number(snapshot.taken_ns);
  json.key("driver_version").string(snapshot.driver_version);
  json.key("module_version").string(snapshot.module_version);
  put_list(json, "devices", snapshot.devices);
  json.close('}');
  return json.take() + "\n";
}

std::string table_of(const GpuSnapshot& snapshot) {
  std::string text;
  const std::string sentence = describe(snapshot.sight, snapshot.detail);
  text += sentence.empty() ? snapshot.detail : sentence;
  text += '\n';
  char line[256];
  for (const GpuDevice& device : snapshot.devices) {
    const std::string memory =
        to_string(device.memory_used) + " of " + to_string(device.memory_total);
    std::snprintf(line, sizeof line, "GPU %-3u %-32s %-22s busy %-6s %s\n", device.index,
                  device.name.empty() ? "(name unknown)" : device.name.c_str(), memory.c_str(),
                  percent(device.busy_percent).c_str(),
                  std::string(to_string(device.state)).c_str());
    text += line;
    if (!device.detail.empty()) text += "        " + device.detail + '\n';
    if (!device.processes_visible) text += "        its processes cannot be listed\n";
    for (const GpuProcess& process : device.processes) {
      const std::string held = process.memory ? to_string(*process.memory) : "memory not told";
      std::snprintf(line, sizeof line, "        pid %-10u %-22s sm %-8s %s\n", process.pid,
                    held.c_str(), percent(process.sm_percent).c_str(), name_of_kind(process.kind));
      text += line;
    }
  }
  if (!snapshot.devices.empty() && !snapshot.pids_are_ours)
    text += "pids are the driver's: this is not the machine's own PID namespace\n";
  return text;
}

}  // namespace gpuward::sentinel
