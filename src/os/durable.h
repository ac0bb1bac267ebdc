#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>

#include "base/error.h"

namespace gpuward::os {

/// As replace_file_at(), and it is on the disk when this returns: the file is synced before it gets
/// its name, the folder after (rename(2) orders nothing). Waits for the disk, milliseconds as a
/// rule: for what must be remembered before something is done. Errors: as open(2), write(2),
/// fdatasync(2), rename(2); the old contents stand, unless only the folder could not be synced.
Result<void> replace_file_durably(const std::string& path, std::span<const std::byte> bytes,
                                  mode_t mode);

}  // namespace gpuward::os
