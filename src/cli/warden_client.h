#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "control/channel.h"
#include "control/home.h"
#include "control/messages.h"

namespace gpuward::cli {

/// Connects to the warden of @p home. Errc::unreachable when none answers.
Result<control::Channel> connect_warden(const control::Home& home);

/// One request, one answer.
Result<WardenAnswer> ask_warden(control::Channel& channel, const WardenRequest& request,
                                Instant deadline);

/// What every command needs first; prints why not and sets @p exit_code.
std::optional<control::Home> home_or_complain(int* exit_code);

/// "gpuward: MESSAGE" on standard error.
/// @return the exit code it deserves: 5 where nobody answers, 3 where nobody did in time, else 1.
int complain(const Error& error);

}  // namespace gpuward::cli
