#include "domain/service.h"

#include <algorithm>
#include <string_view>

namespace gpuward {

bool wants_port(const ServiceModel& service) {
  auto asks = [](std::string_view text) { return text.find("{port}") != std::string_view::npos; };
  const bool probed = service.ready.kind == ReadyKind::tcp || service.ready.kind == ReadyKind::http;
  const bool watched = service.live.kind == LiveKind::http;
  return std::ranges::any_of(service.command, asks) ||
         std::ranges::any_of(service.env, asks, &EnvVar::value) ||
         (probed && (service.ready.address.empty() || asks(service.ready.address))) ||
         (watched && (service.live.address.empty() || asks(service.live.address)));
}

LiveSettings live_settings(const ServiceModel& service) {
  return {service.ready.within,
          service.grace,
          service.restart,
          service.backoff,
          service.log,
          service.live.every,
          service.live.failures,
          service.limits,
          service.private_tmp_max_age.value_or(std::chrono::milliseconds(0))};
}

bool is_service_name(std::string_view name) {
  if (name.empty() || name.size() > 64 || name.front() == '-') return false;
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

bool is_known_name(std::string_view name) {
  return is_service_name(name.starts_with('@') ? name.substr(1) : name);
}

void set_variable(std::vector<EnvVar>& list, EnvVar variable) {
  const auto found = std::ranges::find(list, variable.name, &EnvVar::name);
  if (found == list.end())
    list.push_back(std::move(variable));
  else
    found->value = std::move(variable.value);
}

std::string_view to_string(HealMode mode) {
  return mode == HealMode::act ? "act" : "observe";
}

std::string_view to_string(ContainmentWish wish) {
  switch (wish) {
    case ContainmentWish::automatic:
      return "auto";
    case ContainmentWish::cgroup:
      return "cgroup";
    case ContainmentWish::pidns:
      return "pidns";
    case ContainmentWish::subreaper:
      return "subreaper";
  }
  return "auto";
}

}  // namespace gpuward
