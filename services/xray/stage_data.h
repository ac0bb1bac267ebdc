#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "xray/language.h"
#include "xray/prepare.h"

namespace gpuward::xray {

// What the stages of one job hand to each other when each runs in a child of its own: flat bytes in
// a memfd, written and read by the same program, so of no lasting format.

/// The input of the report stage.
struct ReportOrder {
  Prepared prepared;
  std::string nonce;
  Language language = Language::chinese;
};

std::string encode(const Prepared& prepared);
Outcome<Prepared> decode_prepared(std::span<const std::byte> bytes);

std::string encode(const ReportOrder& order);
Outcome<ReportOrder> decode_order(std::span<const std::byte> bytes);

/// A stage's answer: its output or its problem.
std::string encode_answer(const Outcome<std::string>& answer);
Outcome<std::string> decode_answer(std::span<const std::byte> bytes);

}  // namespace gpuward::xray
