#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "domain/anchor_state.h"
#include "domain/service.h"

namespace gpuward::anchor {

/// The worse, the higher. Not the numbers of LogAlarm, which travel: running out of memory is often
/// survived, and must not hide what a context does not survive.
constexpr int rank_of(LogAlarm alarm) {
  switch (alarm) {
    case LogAlarm::none:
      break;
    case LogAlarm::traceback:
      return 1;
    case LogAlarm::out_of_memory:
      return 2;
    case LogAlarm::cuda_error:
      return 3;
    case LogAlarm::device_assert:
      return 4;
  }
  return 0;
}
/// From here on a context does not survive what it tells of.
inline constexpr int kFatalRank = rank_of(LogAlarm::cuda_error);

/// Looks through what one stream prints, piece by piece, for what the GPU is known to complain of
/// and for one text that means "ready". Remembers that something was there, never what stood beside
/// it (harm.md 11). Allocates nothing.
class LogScan {
 public:
  /// @p wanted must outlive the scan; at most kLongestReadyText bytes, empty for none.
  void want(std::string_view wanted) { wanted_ = wanted; }
  /// @return the worst that these bytes told of, also where alarm() knew it before.
  LogAlarm feed(std::string_view bytes);
  /// Forgets what was found, and the beginning of a line that another process printed.
  void reset();

  bool found() const { return found_; }
  LogAlarm alarm() const { return alarm_; }
  /// Where in the bytes fed last the text of the present alarm ended.
  std::size_t alarm_end() const { return alarm_end_; }

 private:
  LogAlarm search(std::string_view text, std::size_t skipped);

  static constexpr std::size_t kKept = kLongestReadyText - 1;
  std::string_view wanted_;
  std::array<char, kKept> kept_{};  // the end of what came before: a text may be cut in two
  std::size_t kept_size_ = 0;
  bool found_ = false;
  LogAlarm alarm_ = LogAlarm::none;
  std::size_t alarm_end_ = 0;
};

}  // namespace gpuward::anchor
