#include "domain/rights.h"

#include <algorithm>
#include <array>

namespace gpuward {
namespace {

struct NamedLimit {
  std::string_view name;
  LimitKind kind;
  bool bytes;
};
constexpr std::array<NamedLimit, 9> kLimits = {{{"core", LimitKind::core, true},
                                                {"nofile", LimitKind::nofile, false},
                                                {"nproc", LimitKind::nproc, false},
                                                {"memlock", LimitKind::memlock, true},
                                                {"stack", LimitKind::stack, true},
                                                {"as", LimitKind::as, true},
                                                {"fsize", LimitKind::fsize, true},
                                                {"data", LimitKind::data, true},
                                                {"cpu", LimitKind::cpu, false}}};

constexpr std::array<std::string_view, 41> kCapabilities = {"chown",
                                                            "dac_override",
                                                            "dac_read_search",
                                                            "fowner",
                                                            "fsetid",
                                                            "kill",
                                                            "setgid",
                                                            "setuid",
                                                            "setpcap",
                                                            "linux_immutable",
                                                            "net_bind_service",
                                                            "net_broadcast",
                                                            "net_admin",
                                                            "net_raw",
                                                            "ipc_lock",
                                                            "ipc_owner",
                                                            "sys_module",
                                                            "sys_rawio",
                                                            "sys_chroot",
                                                            "sys_ptrace",
                                                            "sys_pacct",
                                                            "sys_admin",
                                                            "sys_boot",
                                                            "sys_nice",
                                                            "sys_resource",
                                                            "sys_time",
                                                            "sys_tty_config",
                                                            "mknod",
                                                            "lease",
                                                            "audit_write",
                                                            "audit_control",
                                                            "setfcap",
                                                            "mac_override",
                                                            "mac_admin",
                                                            "syslog",
                                                            "wake_alarm",
                                                            "block_suspend",
                                                            "audit_read",
                                                            "perfmon",
                                                            "bpf",
                                                            "checkpoint_restore"};

}  // namespace

std::string_view to_string(LimitKind kind) {
  const auto at = std::ranges::find(kLimits, kind, &NamedLimit::kind);
  return at == kLimits.end() ? std::string_view() : at->name;
}

std::optional<LimitKind> parse_limit_kind(std::string_view name) {
  const auto at = std::ranges::find(kLimits, name, &NamedLimit::name);
  if (at == kLimits.end()) return std::nullopt;
  return at->kind;
}

bool is_in_bytes(LimitKind kind) {
  const auto at = std::ranges::find(kLimits, kind, &NamedLimit::kind);
  return at != kLimits.end() && at->bytes;
}

std::optional<int> parse_capability(std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  if (lower.starts_with("cap_")) lower.erase(0, 4);
  const auto at = std::ranges::find(kCapabilities, lower);
  if (at == kCapabilities.end()) return std::nullopt;
  return static_cast<int>(at - kCapabilities.begin());
}

}  // namespace gpuward
