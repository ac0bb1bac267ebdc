#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "domain/service.h"

namespace gpuward {

/// What a change of one field means for a service that runs.
enum class Effect : std::uint8_t {
  live = 0,     ///< holds at once; the process is not touched
  restart = 1,  ///< holds from the next start by hand
};

struct FieldChange {
  std::string field;  ///< as in the file: "backoff.max", "env.HF_TOKEN"
  std::string from;   ///< for people; of the environment never a value, only "set" or "not set"
  std::string to;
  Effect effect = Effect::live;
};

/// Field by field what is different in @p after, in the order of the documentation.
std::vector<FieldChange> compare(const ServiceModel& before, const ServiceModel& after);

/// One number for everything in @p service that its process is made of: equal numbers, equal
/// processes. Never 0. FNV-1a: for telling versions apart, not for secrets.
std::uint64_t process_mark(const ServiceModel& service);

}  // namespace gpuward
