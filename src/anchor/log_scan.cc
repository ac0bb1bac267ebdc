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

bool is_better(LogAlarm one, LogAlarm other) {
  return rank_of(one) < rank_of(other);
}

// "CUDA error: out of memory" is how some tell of the latter.
constexpr std::string_view kCudaError = "CUDA error";
constexpr std::string_view kOfMemory = ": out of memory";

// How many bytes of @p text it took to know what the "CUDA error" at @p at is: one of memory, or
// not. 0: the piece ends within the words that would tell; the next one has the whole of them.
std::size_t decided_by(std::string_view text, std::size_t at, bool& of_memory) {
  const auto rest = text.substr(at + kCudaError.size(), kOfMemory.size());
  of_memory = rest == kOfMemory;
  if (kOfMemory.starts_with(rest)) return of_memory ? at + kCudaError.size() + rest.size() : 0;
  const auto differs = std::ranges::mismatch(rest, kOfMemory).in1 - rest.begin();
  return at + kCudaError.size() + static_cast<std::size_t>(differs) + 1;
}

// Where @p text tells of a CUDA error that is not one of memory, which is known by a byte after the
// first @p skipped; npos: nowhere.
std::size_t find_cuda_error(std::string_view text, std::size_t skipped) {
  for (auto at = text.find(kCudaError); at != text.npos; at = text.find(kCudaError, at + 1)) {
    bool of_memory = false;
    if (decided_by(text, at, of_memory) > skipped && !of_memory) return at;
  }
  return text.npos;
}

// Where @p pattern stands, but for those that end within the first @p skipped bytes.
std::size_t find(std::string_view text, std::string_view pattern, std::size_t skipped) {
  if (pattern == kCudaError) return find_cuda_error(text, skipped);
  return text.find(pattern, skipped < pattern.size() ? 0 : skipped - pattern.size() + 1);
}

}  // namespace

// The first @p skipped bytes of @p text were fed earlier.
LogAlarm LogScan::search(std::string_view text, std::size_t skipped) {
  if (!found_ && !wanted_.empty()) found_ = text.find(wanted_) != text.npos;
  auto worst = LogAlarm::none;
  for (const auto& pattern : kPatterns) {
    const auto at = find(text, pattern.text, skipped);
    if (at == text.npos) continue;
    worst = std::max(worst, pattern.alarm, is_better);
    if (rank_of(pattern.alarm) <= rank_of(alarm_)) continue;
    alarm_ = pattern.alarm;
    // What tells of it may have been fed before what tells that it is not of memory.
    alarm_end_ = std::max(at + pattern.text.size(), skipped + 1) - skipped;
  }
  return worst;
}

LogAlarm LogScan::feed(std::string_view bytes) {
  std::array<char, 2 * kKept> seam{};
  std::copy_n(kept_.begin(), kept_size_, seam.begin());
  const auto head = bytes.substr(0, kKept);
  std::ranges::copy(head, seam.begin() + static_cast<std::ptrdiff_t>(kept_size_));
  const std::string_view joined(seam.data(), kept_size_ + head.size());
  auto worst = search(joined, kept_size_);
  if (bytes.size() > head.size()) worst = std::max(worst, search(bytes, 0), is_better);
  const auto tail = bytes.size() >= kKept ? bytes : joined;
  kept_size_ = std::min(tail.size(), kKept);
  std::ranges::copy(tail.substr(tail.size() - kept_size_), kept_.begin());
  return worst;
}

void LogScan::reset() {
  kept_size_ = 0;
  found_ = false;
  alarm_ = LogAlarm::none;
}

}  // namespace gpuward::anchor
