#include "domain/host.h"

namespace gpuward {

bool is_for_this_machine(std::string_view listen) {
  return listen.starts_with("127.") || listen.starts_with("[::1]:") || listen.starts_with("unix:/");
}

ServiceModel metrics_service(const std::string& gpuward, const std::string& listen) {
  ServiceModel model;
  model.name = kMetricsService;
  model.command = {gpuward, "metrics", "--listen", listen};
  model.restart = RestartPolicy::always;
  if (listen.starts_with("unix:")) return model;
  model.ready.kind = ReadyKind::tcp;
  model.ready.address = listen;
  return model;
}

}  // namespace gpuward
