#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/units.h"

namespace gpuward::cli {

/// What a container engine tells of one of its containers; empty: not said.
struct ContainerFacts {
  std::string image;            ///< as it was named at the start: "clinic/xray:2"
  std::string compose_project;  ///< by the labels that docker compose and podman-compose set
  std::string compose_service;
};

/// Asks the engines of this machine, through their Unix sockets, for container @p id (64 digits).
/// Reads at most 256 KiB. None when no engine answers for it by @p deadline.
std::optional<ContainerFacts> ask_engines(std::string_view id, Instant deadline);

}  // namespace gpuward::cli
