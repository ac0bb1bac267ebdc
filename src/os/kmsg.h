#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "os/fd.h"

namespace gpuward::os {

/// One record of the kernel's log, in the form that /dev/kmsg gives: "4,812,54893042,-;text", then
/// lines " KEY=value" (Documentation/ABI/testing/dev-kmsg).
struct KmsgRecord {
  std::uint8_t level = 0;    ///< 0 emergency to 7 debug
  bool from_kernel = false;  ///< false: a program wrote it there
  std::uint64_t sequence = 0;
  /// Of the kernel's own clock for its log (local_clock()): as CLOCK_MONOTONIC, from which it may
  /// be some seconds away after weeks; sleep of the machine does not count.
  std::chrono::microseconds since_boot{0};
  std::string_view text;  ///< in the caller's buffer, with its "\xNN" put right
};

/// nullopt for what is no such record. @p buffer takes the text, cut where it is too small.
std::optional<KmsgRecord> parse_kmsg_record(std::string_view record, std::span<char> buffer);

/// Reads what the kernel says, record by record: from /dev/kmsg, or from a file of lines that grows
/// (it may be rotated or cut), or from a FIFO. Lines have the form of /dev/kmsg, or are plain.
/// Never waits. One thread.
class Kmsg {
 public:
  enum class Kind : std::uint8_t { device, file, fifo };
  enum class From : std::uint8_t {
    now,   ///< what is said from now on
    boot,  ///< /dev/kmsg: all that the kernel has kept since it was booted; else as `now`
  };
  static constexpr std::size_t kLongest = 8192;  ///< no record of the kernel is longer

  /// Errors: as open(2): EPERM or EACCES without the right to read it (dmesg_restrict, a
  /// container), ENOENT. A file that is not there yet is no error where its folder is: it is
  /// awaited.
  static Result<Kmsg> open(const std::string& path, From from);

  using ReadCall = ssize_t (*)(int fd, void* into, std::size_t size);
  /// A device whose reads are answered by @p read, as read(2): what no machine gives on demand.
  static Kmsg device_for_test(ReadCall read);

  Kmsg(Kmsg&&) = default;
  Kmsg& operator=(Kmsg&&) = default;

  /// Readable when next() may have something.
  int fd() const { return waited_on().get(); }
  Kind kind() const { return kind_; }
  /// False for a file that is awaited.
  bool is_there() const { return static_cast<bool>(log_); }

  struct Entry {
    std::string_view text;      ///< valid until the next call
    bool whole_record = false;  ///< it has the form of /dev/kmsg: the fields below are told
    bool from_kernel = true;    ///< as KmsgRecord
    std::uint64_t sequence = 0;
    std::chrono::microseconds since_boot{0};
    /// It was there before anybody read: From::boot.
    bool old = false;
  };
  /// The next entry; nullopt when there is none now. Errors: as read(2); calling again may help.
  Result<std::optional<Entry>> next();

  /// Of the record of /dev/kmsg that comes next; absent before the first, and for files. For
  /// go_on_from() of whoever opens it again: from From::boot it would give all of them once more.
  std::optional<std::uint64_t> next_sequence() const {
    return kind_ == Kind::device && numbered_ ? std::optional(expected_) : std::nullopt;
  }
  /// Passes over the records before @p sequence; for files it means nothing.
  void go_on_from(std::uint64_t sequence) { first_wanted_ = sequence; }

  /// Records that were overwritten, or lines that were too long, before they could be read.
  std::uint64_t lost() const { return lost_; }

 private:
  Kmsg() = default;
  const Fd& waited_on() const { return notify_ ? notify_ : log_; }
  Result<std::optional<Entry>> next_record();
  std::optional<Entry> next_line();
  Result<bool> fill();
  void take_file(Fd log, bool from_end);
  bool follow_rotation();
  void drain_notices();
  void count_missing(std::uint64_t sequence);
  Entry entry_of(const KmsgRecord& record) const;

  Kind kind_ = Kind::device;
  std::string path_;
  Fd log_;
  Fd notify_;  ///< inotify(7), for files
  int file_watch_ = -1;
  ReadCall read_call_ = nullptr;  ///< read(2)
  bool catching_up_ = false;
  bool dropped_ = false;   ///< the kernel said so; how many shows by the next number
  bool numbered_ = false;  ///< a record was read: `expected_` is the number of the next
  std::uint64_t expected_ = 0;
  std::uint64_t first_wanted_ = 0;
  std::uint64_t lost_ = 0;
  bool skipping_ = false;  ///< within a line that is too long
  std::size_t begin_ = 0;  ///< of what is read and not given yet
  std::size_t end_ = 0;
  std::array<char, kLongest> read_{};
  std::array<char, kLongest> text_{};
};

}  // namespace gpuward::os
