#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <vector>

#include "control/messages.h"
#include "domain/report.h"

namespace gpuward::cli {

/// A card as `status` and `ps` tell it, with its mark in @p marks.
boost::json::object device_json(const GpuDevice& device, const std::vector<CardMark>& marks,
                                Instant now);
/// The JSON contracts of docs/json.md, one line each with a line feed.
std::string status_json(const StatusReport& report, Instant now);
std::string stop_json(const std::vector<NamedReceipt>& receipts);
/// What `cordon`, `uncordon` and `drain` print. The command line is read of each holder that lives.
std::string card_json(const CardAnswer& card, const std::vector<NamedReceipt>& receipts);

}  // namespace gpuward::cli
