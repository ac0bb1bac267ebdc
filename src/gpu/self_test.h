#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "gpu/library.h"

namespace gpuward::gpu {

using TellSelfTest = std::function<void(std::string_view line)>;

/// Proves on this machine's driver what no document promises: that the length of a row is measured
/// rightly and rows are the same by either list ("stride"), that a list of GPM metrics may be
/// shorter than the headers have it ("gpm"), that MIG instances are found ("mig"), and that waiting
/// for events ends in time ("events"). @p tell gets a line as soon as it is known, "ok stride GPU
/// 0: ...", in the form that parse_self_tests() of domain reads: outcome (ok, differs, unseen),
/// test, words. Nothing is changed in the driver. Calls may hang for ever, as those of Nvml: for a
/// process that can be ended.
/// @param path  of the library; empty: as Nvml finds it
void self_test(const std::string& path, const TellSelfTest& tell);

/// The tests of one card.
void self_test_card(const Library& library, CallMark& mark, int card, abi::Device device,
                    const TellSelfTest& tell);

}  // namespace gpuward::gpu
