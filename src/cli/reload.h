#pragma once

namespace gpuward::cli {

/// What the configuration files would change, field by field; changes nothing. 0, 1 when the files
/// hold a mistake, 5 without a warden.
int plan(bool json);
/// The same, and does it: what can holds at once, what needs a new process waits for a restart by
/// hand, and no process is touched.
int reload(bool json);

}  // namespace gpuward::cli
