#include "anchor/log_scan.h"

#include <algorithm>

namespace gpuward::anchor {
namespace {

struct Pattern {
  std::string_view text;
  LogAlarm alarm;
};
constexpr std::array<Pattern, 5> kPatterns = {{
    {"Traceback (most recent call last)", LogAlarm::traceback},
    {"CUDA error", LogAlarm::cuda_error},
    {"device-side assert", LogAlarm::device_assert},
    {"CUDA out of memory", LogAlarm::out_of_memory},
    {"CUDA error: out of memory", LogAlarm::out_of_memory},
}};

}  // namespace

// "CUDA error: out of memory" is how some tell of the latter.
constexpr std::string_view kCudaError = "CUDA error";
constexpr std::string_view kOfMemory = ": out of memory";

// Where @p text tells of a CUDA error that is not one of memory; npos: nowhere. The piece may end
// within the words that would tell: the next one has the whole of them.
std::size_t find_cuda_error(std::string_view text) {
  for (auto at = text.find(kCudaError); at != text.npos; at = text.find(kCudaError, at + 1)) {
    const auto rest = text.substr(at + kCudaError.size(), kOfMemory.size());
    if (!kOfMemory.starts_with(rest)) return at;
  }
  return text.npos;
}

std::size_t find(std::string_view text, std::string_view pattern) {
  return pattern == kCudaError ? find_cuda_error(text) : text.find(pattern);
}

// The first @p skipped bytes of @p text were fed earlier.
void LogScan::search(std::string_view text, std::size_t skipped) {
  if (!found_ && !wanted_.empty()) found_ = text.find(wanted_) != text.npos;
  for (const auto& pattern : kPatterns) {
    const auto at = rank_of(pattern.alarm) > rank_of(alarm_) ? find(text, pattern.text) : text.npos;
    if (at == text.npos) continue;
    alarm_ = pattern.alarm;
    // What tells of it may have been fed before what tells that it is not of memory.
    alarm_end_ = std::max(at + pattern.text.size(), skipped + 1) - skipped;
  }
}

void LogScan::feed(std::string_view bytes) {
  std::array<char, 2 * kKept> seam{};
  std::copy_n(kept_.begin(), kept_size_, seam.begin());
  const auto head = bytes.substr(0, kKept);
  std::ranges::copy(head, seam.begin() + static_cast<std::ptrdiff_t>(kept_size_));
  const std::string_view joined(seam.data(), kept_size_ + head.size());
  search(joined, kept_size_);
  if (bytes.size() > head.size()) search(bytes, 0);
  const auto tail = bytes.size() >= kKept ? bytes : joined;
  kept_size_ = std::min(tail.size(), kKept);
  std::ranges::copy(tail.substr(tail.size() - kept_size_), kept_.begin());
}

void LogScan::reset() {
  kept_size_ = 0;
  found_ = false;
  alarm_ = LogAlarm::none;
}

}  // namespace gpuward::anchor
