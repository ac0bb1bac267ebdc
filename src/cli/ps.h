#pragma once

namespace gpuward::cli {

/// `gpuward ps`: every process that holds a GPU, with a name and an owner. Needs no warden, no
/// root, no configuration, no GPU. 0 also where no GPU can be seen: the reason is the answer.
int ps(bool json);

}  // namespace gpuward::cli
