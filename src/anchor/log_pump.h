#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "anchor/log_file.h"
#include "anchor/log_scan.h"
#include "base/error.h"
#include "os/fd.h"

namespace gpuward::anchor {

/// Carries what a service prints from its two FIFOs into the log file. A FIFO that the service
/// holds O_RDWR outlives this anchor; bytes leave it only after they are in the file, so a killed
/// anchor may repeat a line but loses none. A full disk costs counted bytes, never the service.
class LogPump {
 public:
  /// Makes the FIFOs "out" and "err" in @p dir (1 MiB each where allowed) and opens @p log_file for
  /// appending. An existing FIFO is kept with its contents: a service may be writing to it.
  static Result<LogPump> open(const os::Fd& dir, const std::string& log_file,
                              const LogPolicy& policy = {});

  int out_fd() const { return out_.get(); }
  int err_fd() const { return err_.get(); }
  /// The ends for the service: open files of their own, because O_NONBLOCK belongs to the open file
  /// and a service must block, not fail, when it prints faster than the disk takes.
  int service_out() const { return service_out_.get(); }
  int service_err() const { return service_err_.get(); }

  /// Moves what is there now, at most 16 KiB of each FIFO; call when poll says POLLIN.
  void pump();
  /// Moves everything that is there: for the end of a tree. Who still writes is not waited for.
  void drain();
  /// Goes on with these ends of the FIFOs alone, which see when nobody writes any more.
  void only_read(os::Fd out, os::Fd err);
  /// Is @p fd one that only_read() has left open?
  bool uses(int fd) const;
  /// Moves what comes until the last writer has closed its end; after only_read().
  void read_until_nobody_writes();
  /// Writes a line of gpuward's own: "[gpuward] TEXT".
  void note(std::string_view text);

  /// Says in the log what is missing in it, if it can.
  void tell_loss() { (void)log_.tell_loss(); }
  void set_policy(const LogPolicy& policy) { log_.set_policy(policy); }
  /// Looks through what passes for @p ready, which must outlive the pump, and for LogAlarms.
  void look_for(std::string_view ready);
  /// A new process prints from here on: what is left of the old one moves, what it said is
  /// forgotten.
  void begin_anew();
  bool saw_ready() const { return scans_[0].found() || scans_[1].found(); }
  LogAlarm alarm() const {
    return std::ranges::max(scans_[0].alarm(), scans_[1].alarm(), {}, rank_of);
  }

  /// Where the line of the present alarm() stands: bytes [begin, end) of the log file, as far as it
  /// had come, and their FNV-1a hash. Never the line itself (harm.md 11).
  struct Place {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;  ///< 0: it is in no file
    std::uint64_t hash = 0;
  };
  const Place& alarm_place() const { return alarm_place_; }
  /// When something last told of an alarm() again, or of one that a context does not survive. Its
  /// beginning, where nothing has.
  Instant alarm_at() const { return alarm_at_; }

  std::uint64_t lost_bytes() const { return log_.lost_bytes(); }

 private:
  bool move_some(const os::Fd& fifo, LogScan& scan);
  void write(std::string_view text, LogScan& scan);

  os::Fd out_;
  os::Fd err_;
  os::Fd service_out_;
  os::Fd service_err_;
  os::Fd copy_read_;
  os::Fd copy_write_;
  LogFile log_;
  std::array<LogScan, 2> scans_;  // of out and err
  Place alarm_place_;
  Instant alarm_at_{};
};

}  // namespace gpuward::anchor
