#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "base/units.h"
#include "domain/service.h"
#include "os/fd.h"

namespace gpuward::anchor {

/// The log of one service: NAME.log, the older ones NAME.log.1 (the newest of them) and up. Goes to
/// a new file between two lines when it has grown large, keeps within a total and an age, and
/// writes into a new file when somebody has moved or deleted the old one. What cannot be written,
/// or comes faster than allowed, is counted and said in the log; nobody ever waits. Allocates only
/// in open().
class LogFile {
 public:
  /// Of the time in front of a line, "2026-01-31T09:30:00.123Z ".
  static constexpr std::size_t kTimeSize = 25;

  /// @p path is absolute. Errors: EINVAL for a FIFO, which could be waited on; as open(2).
  static Result<LogFile> open(const std::string& path, const LogPolicy& policy);

  bool uses(int fd) const { return fd == file_.get() || fd == folder_.get(); }
  void set_policy(const LogPolicy& policy) { policy_ = policy; }
  void write(std::string_view text, Instant now);
  /// Says in the log what is missing in it; true when nothing is any more.
  bool tell_loss();
  /// Where the present file's byte stands that @p tail, the last that was written, follows.
  std::uint64_t end_before(std::string_view tail) const;
  /// Not written so far, for want of space or by the rate.
  std::uint64_t lost_bytes() const { return lost_total_; }

 private:
  struct Loss {
    std::uint64_t bytes = 0;  // since the last notice
    std::uint64_t lines = 0;
    bool by_rate = false;
    bool mid_line = false;  // the last byte was not the end of its line
  };
  Result<os::Fd> open_current() const;
  void reopen_if_moved(Instant now);
  void rotate();
  void remove_old();
  std::size_t allowed(std::string_view text, Instant now);
  void lose(std::string_view text, bool by_rate);
  bool append(std::string_view text);
  bool append_with_times(std::string_view text);

  LogPolicy policy_;
  std::string path_;
  os::Fd folder_;
  Text<256> name_;
  os::Fd file_;
  std::uint64_t size_ = 0;
  bool at_line_start_ = true;
  bool plain_ = true;  // a regular file: only such a one is rotated
  Instant looked_{};   // whether it still stands where it was
  Loss loss_;
  std::uint64_t lost_total_ = 0;
  double tokens_ = 0;  // bytes that may be written now
  Instant filled_{};
};

}  // namespace gpuward::anchor
