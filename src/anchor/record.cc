#include "anchor/record.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "anchor/scratch.h"
#include "base/fnv.h"
#include "os/proc_fs.h"

namespace gpuward::anchor {
namespace {

// Of the record on disk; 0: not known. Each event writes one before its acts and one after: often
// the same, and a file that is made, renamed and freed is most of what a restart costs.
std::uint64_t written = 0;

}  // namespace

Result<void> write_record(const os::Fd& dir, const Text<40>& boot_id, const LaunchPlan& plan,
                          const AnchorState& state, bool ever_restored,
                          const std::vector<ProcessId>& members) {
  // Field by field, as fields(AnchorRecord) has them: a record of its own would copy the plan.
  wire::Writer writer(scratch.record);
  auto& packed = scratch.members;
  writer.begin_frame(AnchorRecord::kKind);
  writer(1, boot_id);
  writer(2, plan);
  writer(3, state);
  writer(4, ever_restored);
  std::size_t packed_size = 0;
  for (const auto& member : members)
    if (packed_size + kPackedMember <= std::min(packed.size(), writer.room())) {
      pack(member, std::span(packed).subspan(packed_size).first<kPackedMember>());
      packed_size += kPackedMember;
    }
  writer(5, std::string_view(packed.data(), packed_size));
  if (writer.full()) return fail(error_from(EMSGSIZE, "write the record"));
  const auto frame = writer.end_frame();
  const std::uint64_t sum = fnv1a({reinterpret_cast<const char*>(frame.data()), frame.size()});
  if (sum == written) return {};
  written = 0;
  GPUWARD_TRY(os::replace_file_at(dir, "record", frame, 0600));
  written = sum;
  return {};
}

Result<void> write_pid_file(const std::string& path, Pid main) {
  if (path.empty()) return {};
  Text<24> text;
  text.append_number(main.number).append('\n');
  const auto bytes = std::as_bytes(std::span(text.view()));
  return os::replace_file_at(os::Fd(), path.c_str(), bytes, 0644);  // absolute: no folder is used
}

void remove_pid_file(const std::string& path, Pid main) {
  if (path.empty()) return;
  // Scripts may have laid anything there: a FIFO would be waited on.
  auto file = os::Fd::open_regular_at(os::Fd(), path.c_str(), O_RDONLY | O_NOFOLLOW);
  if (!file) return;
  std::array<char, 32> text{};
  const ssize_t n = ::read(file->get(), text.data(), text.size());
  if (n <= 0) return;
  const std::string_view found(text.data(), static_cast<std::size_t>(n));
  auto pid = os::parse_pid(found.substr(0, found.find('\n')));
  if (pid && *pid == main) ::unlink(path.c_str());
}

}  // namespace gpuward::anchor
