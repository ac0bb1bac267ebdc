#include "anchor/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "os/clock.h"

namespace gpuward::anchor {
namespace {

constexpr off_t kLimit = 256 << 10;

Result<os::Fd> open_journal(const os::Fd& dir) {
  return os::Fd::open_regular_at(dir, "journal", O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
}

// Where the last whole entry of @p file ends: an anchor may have been killed while it wrote.
off_t whole_end(const os::Fd& file, off_t size) {
  off_t at = 0;
  std::array<std::byte, wire::kFrameHeader> header;
  while (at + std::ssize(header) <= size &&
         ::pread(file.get(), header.data(), header.size(), at) == std::ssize(header)) {
    const auto next = at + std::ssize(header) + static_cast<off_t>(wire::frame_length(header));
    if (next > size) break;
    at = next;
  }
  return at;
}

}  // namespace

Result<void> Journal::append(const os::Fd& dir, JournalEntry& entry) {
  entry.number = ++number_;
  entry.anchor = anchor_;
  entry.boot_id = boot_id_;
  entry.at_unix_ms = os::unix_ms_now();
  auto file = open_journal(dir);
  if (!file) return fail(std::move(file).error());
  struct stat info{};
  if (::fstat(file->get(), &info) < 0) return fail(last_error("measure the journal"));
  off_t before = info.st_size;
  if (number_ == 1 && before != 0) {
    before = whole_end(*file, before);
    (void)!::ftruncate(file->get(), before);
  }
  if (before > kLimit) {
    before = 0;
    if (::renameat(dir.get(), "journal", dir.get(), "journal.old") < 0)
      return fail(last_error("set the full journal aside"));
    file = open_journal(dir);
    if (!file) return fail(std::move(file).error());
  }
  std::array<std::byte, 8192> buffer;  // a receipt with everything in it takes about 5 KiB
  auto frame = wire::encode(entry, buffer);
  if (!frame) return fail(std::move(frame).error());
  auto written = os::write_all(*file, *frame, "the journal");
  // Half an entry would swallow the beginning of the next.
  if (!written) (void)!::ftruncate(file->get(), before);
  return written;
}

}  // namespace gpuward::anchor
