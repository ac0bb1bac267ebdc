#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "http/buffers.h"
#include "os/fd.h"

namespace gpuward::gateway {

/// A file without a name for bytes that must not be found on a disk (harm.md 10): encrypted with a
/// key that is only in the memory of this process, and gone with it. Loop thread only: it is
/// written to the page cache, which a loop may wait for when the disk is far behind.
class SpillFile {
 public:
  /// @p folder  has to allow O_TMPFILE (open(2), Linux 3.11); else a file is made and unlinked.
  /// Errors: as open(2).
  static Result<SpillFile> make(const char* folder);
  SpillFile(SpillFile&&) noexcept;
  SpillFile& operator=(SpillFile&&) noexcept;
  ~SpillFile();

  /// At its end. Errors: as write(2): ENOSPC when the disk is full.
  Result<void> append(std::string_view bytes);
  /// The bytes from @p offset on, as many as @p into takes: @p offset is where the last call ended,
  /// or 0. Errors: as pread(2).
  Result<std::size_t> read(std::uint64_t offset, char* into, std::size_t room);
  std::uint64_t size() const { return size_; }

 private:
  struct Cipher;
  SpillFile(os::Fd file, std::unique_ptr<Cipher> cipher);
  os::Fd file_;
  std::unique_ptr<Cipher> cipher_;
  std::uint64_t size_ = 0;
};

/// How much the waiting bodies of one gateway take in memory.
class BodyMemory {
 public:
  static constexpr std::size_t kMost = std::size_t{64} << 20;
  bool has_room(std::size_t bytes) const { return used_ + bytes <= kMost; }
  std::size_t used() const { return used_; }

 private:
  friend class KeptBody;
  std::size_t used_ = 0;
};

/// The body of a request that waits: exactly the bytes that came, with their chunk heads. A small
/// one stays in memory, the rest of the others goes to a SpillFile.
class KeptBody {
 public:
  static constexpr std::size_t kInMemory = http::BufferPool::kSize;

  /// Both outlive it.
  KeptBody(BodyMemory& memory, const std::string& folder) : memory_(&memory), folder_(&folder) {}
  KeptBody(BodyMemory& memory, std::string&& folder) = delete;
  KeptBody(const KeptBody&) = delete;
  KeptBody& operator=(const KeptBody&) = delete;
  ~KeptBody() { clear(); }

  /// Errors: as SpillFile's.
  Result<void> append(std::string_view bytes);
  std::uint64_t size() const { return start_.size() + (rest_ ? rest_->size() : 0); }
  /// What of it is in memory: its first bytes.
  const std::string& start() const { return start_; }
  SpillFile* rest() const { return rest_.get(); }
  void clear();

 private:
  BodyMemory* memory_;
  const std::string* folder_;
  std::string start_;
  std::unique_ptr<SpillFile> rest_;
};

}  // namespace gpuward::gateway
