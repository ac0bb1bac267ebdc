#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace gpuward::gpu {

/// Proves on this machine's driver what no document promises: that the length of a row is measured
/// rightly, and that rows are the same by either list. @p tell gets a line as soon as it is known,
/// "ok stride GPU 0: ...", in the form that parse_self_tests() of domain reads: outcome (ok,
/// differs, unseen), test, words. Nothing is changed in the driver. Calls may hang for ever, as
/// those of Nvml: for a process that can be ended.
/// @param path  of the library; empty: as Nvml finds it
void self_test(const std::string& path, const std::function<void(std::string_view line)>& tell);

}  // namespace gpuward::gpu
