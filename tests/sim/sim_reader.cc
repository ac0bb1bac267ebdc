// Reads a simulated card through libnvidia-ml.so.1, found by its name, for the tests.
// usage: sim_reader names        every name that known readers look for: "NAME CODE" a line,
//                                CODE -1 when it is missing
//        sim_reader watch        obeys "name", "rows", "rows2", "rows1", "details", "xid", "init",
//                                "accounting PID": prints what it got; also
//                                "get NAME NUMBER...": "CODE VALUE" of a call with one result
//                                "text NAME": "CODE TEXT"
//                                "fields ID...": "CODE: ID=CODE/VALUE, ..." of one batch
//                                "gpm MS ID...": the same of two samples so far apart
//                                "mig N", "card": which handle the others use, by its code
//                                "everything": what one look at all cards finds and takes
//                                "near N": "CODE LEVEL" of what it has in common with card N
//                                "instances": "CODE: PID GPU-INSTANCE COMPUTE-INSTANCE, ..."
#include <dlfcn.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace {

using Call = int(void*, void*, void*, void*, void*, void*);

void* library() {
  static void* loaded = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (loaded == nullptr) {
    std::fprintf(stderr, "sim_reader: %s\n", ::dlerror());
    std::exit(3);
  }
  return loaded;
}

Call* find(const char* name) {
  return reinterpret_cast<Call*>(::dlsym(library(), name));
}

// Integer and pointer arguments travel alike in the calling conventions of Linux.
void* number(std::uintptr_t value) {
  return reinterpret_cast<void*>(value);  // NOLINT(performance-no-int-to-ptr)
}

/// Where a handle is to be put.
void* place(void*& handle) {
  return static_cast<void*>(&handle);
}

int call(const char* name, void* a = nullptr, void* b = nullptr, void* c = nullptr,
         void* d = nullptr, void* e = nullptr, void* f = nullptr) {
  Call* function = find(name);
  return function == nullptr ? -1 : function(a, b, c, d, e, f);
}

alignas(8) char out[4][8192];
void* device = nullptr;

// How a call takes its arguments after the device.
enum Shape {
  kOuts,      // only results
  kKind,      // a number, then results
  kText,      // a buffer and its length
  kRows,      // a count and rows
  kMemoryV2,  // a result with its version set
  kShares,    // rows, a count, a time stamp
  kSamples,   // type, time stamp, value type, count, samples
};
struct Name {
  const char* name;
  Shape shape;
};

constexpr Name kNames[] = {
    {"nvmlDeviceGetName", kText},
    {"nvmlDeviceGetUUID", kText},
    {"nvmlDeviceGetIndex", kOuts},
    {"nvmlDeviceGetMemoryInfo", kOuts},
    {"nvmlDeviceGetMemoryInfo_v2", kMemoryV2},
    {"nvmlDeviceGetUtilizationRates", kOuts},
    {"nvmlDeviceGetTemperature", kKind},
    {"nvmlDeviceGetPowerUsage", kOuts},
    {"nvmlDeviceGetComputeRunningProcesses_v3", kRows},
    {"nvmlDeviceGetComputeRunningProcesses_v2", kRows},
    {"nvmlDeviceGetComputeRunningProcesses", kRows},
    {"nvmlDeviceGetGraphicsRunningProcesses_v3", kRows},
    {"nvmlDeviceGetGraphicsRunningProcesses_v2", kRows},
    {"nvmlDeviceGetGraphicsRunningProcesses", kRows},
    {"nvmlDeviceGetMPSComputeRunningProcesses_v3", kRows},
    {"nvmlDeviceGetMPSComputeRunningProcesses_v2", kRows},
    {"nvmlDeviceGetMPSComputeRunningProcesses", kRows},
    {"nvmlDeviceGetPciInfo_v3", kOuts},
    {"nvmlDeviceGetPciInfo_v2", kOuts},
    {"nvmlDeviceGetPciInfo", kOuts},
    {"nvmlDeviceGetClockInfo", kKind},
    {"nvmlDeviceGetMaxClockInfo", kKind},
    {"nvmlDeviceGetEnforcedPowerLimit", kOuts},
    {"nvmlDeviceGetPowerManagementLimit", kOuts},
    {"nvmlDeviceGetPerformanceState", kOuts},
    {"nvmlDeviceGetPersistenceMode", kOuts},
    {"nvmlDeviceGetComputeMode", kOuts},
    {"nvmlDeviceGetDisplayActive", kOuts},
    {"nvmlDeviceGetDisplayMode", kOuts},
    {"nvmlDeviceGetCudaComputeCapability", kOuts},
    {"nvmlDeviceIsMigDeviceHandle", kOuts},
    {"nvmlDeviceGetProcessUtilization", kShares},
    {"nvmlDeviceGetSamples", kSamples},
    {"nvmlDeviceGetFanSpeed", kOuts},
    {"nvmlDeviceGetMigMode", kOuts},
    {"nvmlDeviceGetEncoderUtilization", kOuts},
    {"nvmlDeviceGetDecoderUtilization", kOuts},
    {"nvmlDeviceGetTemperatureThreshold", kKind},
    {"nvmlDeviceGetPcieThroughput", kKind},
    {"nvmlDeviceGetCurrPcieLinkGeneration", kOuts},
    {"nvmlDeviceGetMaxPcieLinkGeneration", kOuts},
    {"nvmlDeviceGetCurrPcieLinkWidth", kOuts},
    {"nvmlDeviceGetMaxPcieLinkWidth", kOuts},
    {"nvmlDeviceGetDriverModel", kOuts},
    {"nvmlDeviceGetTotalEccErrors", kKind},
};

int call_shaped(const Name& known) {
  std::memset(out, 0, sizeof out);
  std::uint32_t count = 64;
  const std::uint32_t memory_tag = 0x02000028;
  switch (known.shape) {
    case kOuts:
      return call(known.name, device, out[0], out[1], out[2], out[3]);
    case kKind:
      if (std::strstr(known.name, "Ecc") != nullptr) {
        return call(known.name, device, number(0), number(0), out[0]);
      }
      return call(known.name, device, number(0), out[0]);
    case kText:
      return call(known.name, device, out[0], number(96));
    case kRows:
      return call(known.name, device, &count, out[0]);
    case kMemoryV2:
      std::memcpy(out[0], &memory_tag, sizeof memory_tag);
      return call(known.name, device, out[0]);
    case kShares:
      return call(known.name, device, out[0], &count, number(0));
    case kSamples:
      count = 120;
      return call(known.name, device, number(1), number(0), out[1], &count, out[0]);
  }
  return -1;
}

void say_code(const char* name, int code) {
  std::printf("%s %d\n", name, code);
}

int print_names() {
  say_code("nvmlInitWithFlags", call("nvmlInitWithFlags", number(0)));
  say_code("nvmlInit_v2", call("nvmlInit_v2"));
  say_code("nvmlErrorString", find("nvmlErrorString") == nullptr ? -1 : 0);
  say_code("nvmlSystemGetDriverVersion", call("nvmlSystemGetDriverVersion", out[0], number(80)));
  say_code("nvmlSystemGetCudaDriverVersion", call("nvmlSystemGetCudaDriverVersion", out[0]));
  say_code("nvmlSystemGetCudaDriverVersion_v2", call("nvmlSystemGetCudaDriverVersion_v2", out[0]));
  say_code("nvmlDeviceGetCount_v2", call("nvmlDeviceGetCount_v2", out[0]));
  say_code("nvmlDeviceGetHandleByIndex_v2",
           call("nvmlDeviceGetHandleByIndex_v2", number(0), place(device)));
  for (const Name& known : kNames) say_code(known.name, call_shaped(known));
  say_code("nvmlShutdown", call("nvmlShutdown"));
  return 0;
}

std::string next_line() {
  std::string line;
  char c = 0;
  while (::read(STDIN_FILENO, &c, 1) == 1) {
    if (c == '\n') return line;
    line += c;
  }
  std::exit(0);
}

/// "rows CODE COUNT: PID BYTES, ..." with elements of @p stride bytes.
void print_rows(const char* name, std::size_t stride) {
  std::memset(out, 0xee, sizeof out);
  std::uint32_t count = 200;
  const int code = call(name, device, &count, out[0]);
  std::printf("rows %d %u:", code, code == 0 ? count : 0);
  for (std::uint32_t i = 0; code == 0 && i < count; ++i) {
    std::uint32_t pid = 0;
    std::uint64_t bytes = 0;
    std::memcpy(&pid, out[0] + i * stride, sizeof pid);
    std::memcpy(&bytes, out[0] + i * stride + 8, sizeof bytes);
    std::printf(" %u %llu,", pid, static_cast<unsigned long long>(bytes));
  }
  std::printf("\n");
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::uint64_t result() {
  std::uint64_t value = 0;
  std::memcpy(&value, out[0], sizeof value);
  return value;
}

void get(const std::vector<std::string>& words) {
  std::memset(out, 0, sizeof out);
  void* numbers[3] = {out[0], out[1], out[2]};
  for (std::size_t i = 2; i < words.size() && i < 4; ++i) {
    numbers[i - 2] = number(std::strtoul(words[i].c_str(), nullptr, 0));
    numbers[i - 1] = out[0];
  }
  const int code = call(words[1].c_str(), device, numbers[0], numbers[1], numbers[2]);
  std::printf("%d %llu\n", code, static_cast<unsigned long long>(result()));
}

void print_fields(const std::vector<std::string>& words) {
  std::memset(out, 0, sizeof out);
  const std::size_t count = words.size() - 1;
  for (std::size_t i = 0; i < count; ++i) {
    const auto id = static_cast<std::uint32_t>(std::strtoul(words[i + 1].c_str(), nullptr, 10));
    std::memcpy(out[0] + i * 40, &id, sizeof id);
  }
  std::printf("%d:", call("nvmlDeviceGetFieldValues", device, number(count), out[0]));
  for (std::size_t i = 0; i < count; ++i) {
    int code = 0;
    std::uint64_t value = 0;
    std::memcpy(&code, out[0] + i * 40 + 28, sizeof code);
    std::memcpy(&value, out[0] + i * 40 + 32, sizeof value);
    std::printf(" %s=%d/%llu,", words[i + 1].c_str(), code, static_cast<unsigned long long>(value));
  }
  std::printf("\n");
}

void print_gpm(const std::vector<std::string>& words) {
  void* samples[2] = {};
  for (void*& sample : samples) call("nvmlGpmSampleAlloc", place(sample));
  int code = call("nvmlGpmSampleGet", device, samples[0]);
  ::usleep(static_cast<useconds_t>(std::strtoul(words[1].c_str(), nullptr, 10)) * 1000);
  if (code == 0) code = call("nvmlGpmSampleGet", device, samples[1]);
  std::memset(out, 0, sizeof out);
  const std::uint32_t head[2] = {1, static_cast<std::uint32_t>(words.size() - 2)};
  std::memcpy(out[0], head, sizeof head);
  std::memcpy(out[0] + 8, samples, sizeof samples);
  for (std::size_t i = 2; i < words.size(); ++i) {
    const auto id = static_cast<std::uint32_t>(std::strtoul(words[i].c_str(), nullptr, 10));
    std::memcpy(out[0] + 24 + (i - 2) * 40, &id, sizeof id);
  }
  if (code == 0) code = call("nvmlGpmMetricsGet", out[0]);
  std::printf("%d:", code);
  for (std::size_t i = 2; code == 0 && i < words.size(); ++i) {
    int metric_code = 0;
    double value = 0;
    std::memcpy(&metric_code, out[0] + 24 + (i - 2) * 40 + 4, sizeof metric_code);
    std::memcpy(&value, out[0] + 24 + (i - 2) * 40 + 8, sizeof value);
    std::printf(" %s=%d/%.0f,", words[i].c_str(), metric_code, value);
  }
  std::printf("\n");
  for (void* sample : samples) call("nvmlGpmSampleFree", sample);
}

void print_instances() {
  std::memset(out, 0, sizeof out);
  std::uint32_t count = 200;
  const int code = call("nvmlDeviceGetComputeRunningProcesses_v3", device, &count, out[0]);
  std::printf("%d:", code);
  for (std::uint32_t i = 0; code == 0 && i < count; ++i) {
    std::uint32_t row[6];
    std::memcpy(row, out[0] + i * 24, sizeof row);
    std::printf(" %u %d %d,", row[0], static_cast<int>(row[4]), static_cast<int>(row[5]));
  }
  std::printf("\n");
}

std::uint64_t now_us() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1000;
}

/// Looks at every card once, as a monitor does each second.
void print_everything() {
  std::uint32_t cards = 0;
  call("nvmlDeviceGetCount_v2", &cards);
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  std::uint64_t lists_us = 0;
  std::uint64_t memory_us = 0;
  for (std::uint32_t i = 0; i < cards; ++i) {
    void* card = nullptr;
    call("nvmlDeviceGetHandleByIndex_v2", number(i), place(card));
    const std::uint64_t begin = now_us();
    std::uint32_t count = 256;
    if (call("nvmlDeviceGetComputeRunningProcesses_v3", card, &count, out[0]) == 0) rows += count;
    const std::uint64_t listed = now_us();
    const std::uint32_t memory_tag = 0x02000028;
    std::memcpy(out[3], &memory_tag, sizeof memory_tag);
    std::uint64_t used = 0;
    if (call("nvmlDeviceGetMemoryInfo_v2", card, out[3]) == 0) {
      std::memcpy(&used, out[3] + 32, sizeof used);
    }
    bytes += used;
    lists_us += listed - begin;
    memory_us += now_us() - listed;
  }
  std::printf("cards %u rows %llu bytes %llu lists_us %llu memory_us %llu\n", cards,
              static_cast<unsigned long long>(rows), static_cast<unsigned long long>(bytes),
              static_cast<unsigned long long>(lists_us),
              static_cast<unsigned long long>(memory_us));
}

/// @return false when it knows no such request.
bool answer(const std::string& line) {
  static void* card = nullptr;
  const auto words = words_of(line);
  if (words.empty()) return false;
  if (words[0] == "get") {
    get(words);
  } else if (words[0] == "text") {
    std::memset(out, 0, sizeof out);
    const int code = call(words[1].c_str(), device, out[0], number(96));
    std::printf("%d %s\n", code, out[0]);
  } else if (words[0] == "fields") {
    print_fields(words);
  } else if (words[0] == "gpm") {
    print_gpm(words);
  } else if (words[0] == "near") {
    void* other = nullptr;
    const std::uintptr_t which = std::strtoul(words[1].c_str(), nullptr, 10);
    std::memset(out, 0, sizeof out);
    call("nvmlDeviceGetHandleByIndex_v2", number(which), place(other));
    const int code = call("nvmlDeviceGetTopologyCommonAncestor", device, other, out[0]);
    std::printf("%d %llu\n", code, static_cast<unsigned long long>(result()));
  } else if (words[0] == "everything") {
    print_everything();
  } else if (words[0] == "instances") {
    print_instances();
  } else if (words[0] == "mig") {
    if (card == nullptr) card = device;
    const std::uintptr_t which = std::strtoul(words[1].c_str(), nullptr, 10);
    void* found = nullptr;
    const int code = call("nvmlDeviceGetMigDeviceHandleByIndex", card, number(which), place(found));
    if (code == 0) device = found;
    std::printf("%d\n", code);
  } else if (words[0] == "card") {
    const int code = call("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", device, place(device));
    std::printf("%d\n", code);
  } else {
    return false;
  }
  return true;
}

int watch() {
  void* set = nullptr;
  for (;;) {
    const std::string line = next_line();
    if (line == "init") {
      const int code = call("nvmlInit_v2");
      const int handle = call("nvmlDeviceGetHandleByIndex_v2", number(0), place(device));
      std::printf("init %d handle %d\n", code, handle);
    } else if (line == "name") {
      std::printf("code %d\n", call("nvmlDeviceGetName", device, out[0], number(96)));
    } else if (line.starts_with("rows")) {
      const std::size_t stride = std::strtoul(line.c_str() + 5, nullptr, 10);
      print_rows("nvmlDeviceGetComputeRunningProcesses_v3", stride);
    } else if (line == "listen" || line == "listen all") {
      call("nvmlEventSetCreate", place(set));
      std::memset(out, 0, sizeof out);
      call("nvmlDeviceGetSupportedEventTypes", device, out[0]);
      const std::uintptr_t mask = line == "listen" ? 8 : result();
      std::printf("code %d\n", call("nvmlDeviceRegisterEvents", device, number(mask), set));
    } else if (line == "event") {
      std::memset(out, 0, sizeof out);
      const int code = call("nvmlEventSetWait_v2", set, out[0], number(5000));
      std::uint64_t data = 0;
      std::uint64_t type = 0;
      std::memcpy(&type, out[0] + 8, sizeof type);
      std::memcpy(&data, out[0] + 16, sizeof data);
      if (code == 0 && type != 8) {
        std::printf("event %d type %#llx\n", code, static_cast<unsigned long long>(type));
      } else {
        std::printf("event %d xid %llu\n", code, static_cast<unsigned long long>(data));
      }
    } else if (line.starts_with("accounting ")) {
      std::memset(out, 0, sizeof out);
      const std::uintptr_t pid = std::strtoul(line.c_str() + 11, nullptr, 10);
      const int code = call("nvmlDeviceGetAccountingStats", device, number(pid), out[0]);
      std::uint64_t peak = 0;
      std::memcpy(&peak, out[0] + 8, sizeof peak);
      std::printf("accounting %d peak %llu\n", code, static_cast<unsigned long long>(peak));
    } else if (!answer(line)) {
      std::printf("what?\n");
    }
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "names") return print_names();
  if (mode == "watch") return watch();
  std::fprintf(stderr, "usage: sim_reader names | watch\n");
  return 2;
}
