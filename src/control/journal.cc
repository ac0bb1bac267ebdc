#include "control/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "domain/receipt.h"

namespace gpuward::control {
namespace {

constexpr std::size_t kLargestJournal = 1 << 20;  // an anchor goes to a new one at 256 KiB

// The entries in @p bytes, as far as they are whole. @return how many bytes they take.
std::size_t take_entries(std::span<const std::byte> bytes, const AnchorFolder& folder,
                         std::vector<LedgerEntry>* entries) {
  std::size_t taken = 0;
  while (bytes.size() - taken >= wire::kFrameHeader) {
    const auto rest = bytes.subspan(taken);
    const std::size_t length = wire::frame_length(rest.first<wire::kFrameHeader>());
    if (length > wire::kMaxSmall || rest.size() - wire::kFrameHeader < length) break;
    taken += wire::kFrameHeader + length;
    const auto body = wire::open_body(rest.subspan(wire::kFrameHeader, length));
    const auto entry =
        body ? wire::decode<JournalEntry>(*body) : Result<JournalEntry>(fail(body.error()));
    // Without a number it is of a version that kept no ledger.
    if (entry && entry->number != 0) entries->push_back(ledger_entry(folder, *entry));
  }
  return taken;
}

// Reads @p file from @p offset on. @return the offset up to which it was understood.
std::uint64_t read_from(const os::Fd& file, std::uint64_t offset, const AnchorFolder& folder,
                        std::vector<LedgerEntry>* entries) {
  struct stat info{};
  if (::fstat(file.get(), &info) < 0) return offset;
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size <= offset || size - offset > kLargestJournal) return size;
  std::vector<std::byte> bytes(size - offset);
  const ssize_t n = ::pread(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
  if (n <= 0) return offset;
  return offset +
         take_entries(std::span(bytes).first(static_cast<std::size_t>(n)), folder, entries);
}

Result<os::Fd> open_part(const AnchorFolder& folder, const char* name) {
  return os::Fd::open_regular_at(os::Fd(), (folder.path + "/" + name).c_str(),
                                 O_RDONLY | O_NOFOLLOW);
}

std::uint64_t inode_of(const os::Fd& file) {
  struct stat info{};
  return ::fstat(file.get(), &info) < 0 ? 0 : info.st_ino;
}

}  // namespace

std::vector<LedgerEntry> JournalReader::news_of(const AnchorFolder& folder) {
  std::vector<LedgerEntry> entries;
  auto file = open_part(folder, "journal");
  if (!file) {
    marks_.erase(folder.path);
    return entries;
  }
  Mark& mark = marks_[folder.path];
  const std::uint64_t inode = inode_of(*file);
  if (inode != mark.inode) {  // a new one was begun: the old one may have more than was read
    if (auto old = open_part(folder, "journal.old"))
      read_from(*old, inode_of(*old) == mark.inode ? mark.offset : 0, folder, &entries);
    mark = {inode, 0};
  }
  struct stat info{};  // a new file may have got the number of the one before it
  if (::fstat(file->get(), &info) == 0 && static_cast<std::uint64_t>(info.st_size) < mark.offset)
    mark.offset = 0;
  mark.offset = read_from(*file, mark.offset, folder, &entries);
  return entries;
}

LedgerEntry ledger_entry(const AnchorFolder& folder, const JournalEntry& entry) {
  LedgerEntry made;
  made.at_unix_ms = entry.at_unix_ms;
  made.kind = entry.event;
  made.service = folder.service;
  made.replica = folder.replica;
  made.generation = entry.generation;
  made.actor = entry.actor;
  made.why = entry.reason.view();
  made.evidence = entry.evidence.view();
  if (entry.receipt.generation != 0) {
    made.evidence = describe(entry.receipt);
    made.outcome = describe_survivors(entry.receipt);
  }
  made.origin = std::string(entry.boot_id.view()) + " " + std::to_string(entry.anchor.pid.number) +
                " " + std::to_string(entry.anchor.start_ticks);
  made.origin_number = entry.number;
  return made;
}

}  // namespace gpuward::control
