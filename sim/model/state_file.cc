#include "model/state_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "model/session.h"

namespace gpuward::gpusim {
namespace {

void print_uuid(const char* kind, const unsigned char* id, char* out, std::size_t size) {
  std::snprintf(out, size,
                "%s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", kind,
                id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10],
                id[11], id[12], id[13], id[14], id[15]);
}

void make_uuid(DeviceEntry& device) {
  unsigned char* id = device.uuid_bytes;
  if (::getrandom(id, 16, 0) != 16) std::memset(id, 0x5a, 16);
  id[6] = static_cast<unsigned char>((id[6] & 0x0f) | 0x40);  // RFC 4122, version 4
  id[8] = static_cast<unsigned char>((id[8] & 0x3f) | 0x80);
  print_uuid("GPU", id, device.uuid, sizeof device.uuid);
}

void fill_device(StateFile& state, unsigned index, const CreateOptions& options) {
  DeviceEntry& device = state.devices[index];
  // The first value lies in a buffer of the last slot, which is as good as any.
  const std::uint64_t buffer =
      std::uint64_t{kMaxSlots - 1} * buffers_per_slot(options.devices) + index;
  auto* pool = reinterpret_cast<char*>(&state) + sizeof(StateFile);
  auto* value = reinterpret_cast<DeviceValue*>(pool + buffer * kBufferBytes);
  value->now = monotonic_ns();
  value->slice_ns = options.slice_ns;
  value->switch_ns = options.switch_ns;
  value->rate_permille = 1000;
  value->sharing = options.instances > 0 ? kMig : options.mps ? kMps : kTurns;
  value->instances = options.instances;
  value->total_bytes = options.memory_bytes;
  value->reserved_bytes =
      options.reserved_bytes == kNever ? options.memory_bytes / 80 : options.reserved_bytes;
  value->context_bytes = options.context_bytes;
  value->return_delay_ns = options.return_delay_ns;
  value->copy_bytes_per_second = options.copy_bytes_per_second;
  value->bin_ns = options.sample_period_ns;
  value->last_bin = value->now / value->bin_ns;
  device.head.store(std::uint64_t{1} << 20 | buffer);
  device.flags.store(options.accounting ? kAccounting : 0);
  device.pci_bus = 0x10 + index;
  device.created_at = value->now;
  device.return_delay_ns = options.return_delay_ns;
  device.power_idle_mw = 60'000;
  device.power_limit_mw = 400'000;
  device.architecture = options.architecture;
  device.instances = options.instances;
  std::snprintf(device.name, sizeof device.name, "Simulated %s", options.name.c_str());
  make_uuid(device);
  reset_health(state.health[index]);
}

}  // namespace

void reset_health(HealthEntry& health) {
  for (auto& held : health.held_down) {
    const std::uint64_t seen = held.load();
    if ((seen & kHolding) != 0) held.store(held_down_ns(seen, monotonic_ns()));
  }
  for (auto* sensor : {&health.temperature, &health.memory_temperature, &health.power_mw}) {
    sensor->store(kFollows);
  }
  health.recovery_action.store(0);
  health.ecc_corrected.store(0);
  health.ecc_uncorrected.store(0);
  for (auto* counter :
       {&health.rows_corrected, &health.rows_uncorrected, &health.rows_pending, &health.rows_failed,
        &health.pages_single, &health.pages_double, &health.pages_pending, &health.pcie_correctable,
        &health.pcie_non_fatal, &health.pcie_fatal}) {
    counter->store(0);
  }
  health.pcie_width.store(16);
  health.pcie_generation.store(5);
  health.persistence.store(1);
}

void mig_uuid_bytes(const DeviceEntry& device, unsigned instance, unsigned char (&out)[16]) {
  std::memcpy(out, device.uuid_bytes, sizeof out);
  out[15] = static_cast<unsigned char>(out[15] ^ (0x80 | instance));
}

std::string mig_uuid(const DeviceEntry& device, unsigned instance) {
  unsigned char id[16];
  mig_uuid_bytes(device, instance, id);
  char text[48];
  print_uuid("MIG", id, text, sizeof text);
  return text;
}

std::string mig_name(const DeviceEntry& device, std::uint64_t bytes) {
  const unsigned slices = std::max(1U, kMaxInstances / std::max(1U, device.instances));
  return std::string(device.name) + " MIG " + std::to_string(slices) + "g." +
         std::to_string((bytes + (std::uint64_t{1} << 29)) >> 30) + "gb";
}

namespace {

void fill(StateFile& state, const CreateOptions& options) {
  Header& header = state.header;
  header.layout_version = kLayoutVersion;
  header.device_count = options.devices;
  std::snprintf(header.boot_id, sizeof header.boot_id, "%s", boot_id().c_str());
  header.auto_sync_spins = options.auto_sync_spins ? 1 : 0;
  header.driver_version = 12080;
  header.default_kernel_ns = options.default_kernel_ns;
  header.host_budget_bytes = options.host_budget_bytes;
  header.created_at = monotonic_ns();
  header.stride.store(24);
  for (auto& device : state.accounting) {
    for (auto& entry : device) entry.number.store(kNever);
  }
  for (auto& event : state.events) event.number.store(kNever);
  for (unsigned index = 0; index < options.devices; ++index) fill_device(state, index, options);
  std::memcpy(header.magic, kMagic, sizeof kMagic);
}

int fill_file(int fd, const CreateOptions& options) {
  const std::size_t size = file_bytes(options.devices);
  if (::fchmod(fd, 0666) != 0) return errno;
  if (::ftruncate(fd, static_cast<off_t>(size)) != 0) return errno;
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return errno;
  fill(*static_cast<StateFile*>(at), options);
  ::munmap(at, size);
  return 0;
}

}  // namespace

int create_state(const std::string& path, const CreateOptions& options, bool replace) {
  const std::string beside = path + ".new-" + std::to_string(::getpid());
  const int fd = ::open(beside.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  int problem = fill_file(fd, options);
  ::close(fd);
  if (problem == 0) {
    // link(2) refuses to replace, rename(2) replaces: both in one step.
    const int moved =
        replace ? ::rename(beside.c_str(), path.c_str()) : ::link(beside.c_str(), path.c_str());
    if (moved != 0) problem = errno;
  }
  if (problem != 0 || !replace) ::unlink(beside.c_str());
  return problem;
}

}  // namespace gpuward::gpusim
