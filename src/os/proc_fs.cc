#include "os/proc_fs.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "base/utf8.h"
#include "os/kernel.h"

namespace gpuward::os {
namespace {

using ProcPath = std::array<char, 64>;

ProcPath proc_path(Pid pid, const char* leaf) {
  ProcPath path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/%s", pid.number, leaf);
  return path;
}

template <class Number>
std::optional<Number> parse_number(std::string_view digits) {
  Number value{};
  auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (code != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<Pid> parse_pid(std::string_view digits) {
  auto number = parse_number<pid_t>(digits);
  if (!number || *number <= 0) return std::nullopt;
  return Pid{*number};
}

std::optional<ProcStat> parse_stat(std::string_view text) {
  const auto open = text.find('(');
  const auto close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    return std::nullopt;
  ProcStat stat;
  stat.name = Text<32>(text.substr(open + 1, close - open - 1));
  text.remove_prefix(close + 1);
  std::uint64_t user = 0;
  std::uint64_t system = 0;
  // Field 3 (state) is the first after the name; 22 (starttime) the last we need.
  for (int field = 3; field <= 22; ++field) {
    if (text.empty() || text.front() != ' ') return std::nullopt;
    text.remove_prefix(1);
    const auto word = text.substr(0, text.find_first_of(" \n"));
    text.remove_prefix(word.size());
    if (word.empty()) return std::nullopt;
    auto number = [&](auto& into) {
      auto value = parse_number<std::remove_reference_t<decltype(into)>>(word);
      if (value) into = *value;
      return value.has_value();
    };
    bool good = true;
    if (field == 3)
      stat.state = word.front();
    else if (field == 4)
      good = number(stat.parent.number);
    else if (field == 6)
      good = number(stat.session.number);
    else if (field == 14)
      good = number(user);
    else if (field == 15)
      good = number(system);
    else if (field == 20)
      good = number(stat.threads);
    else if (field == 22)
      good = number(stat.start_ticks);
    if (!good) return std::nullopt;
  }
  stat.cpu_ticks = user + system;
  return stat;
}

Result<ProcStat> read_stat(Pid pid) {
  std::array<char, 1024> buffer{};
  const auto path = proc_path(pid, "stat");
  auto text = read_small(path.data(), buffer);
  if (!text) return fail(std::move(text).error());
  auto stat = parse_stat(*text);
  if (!stat) return fail(Errc::bad_message, path.data());
  return *stat;
}

Result<std::string> read_command(Pid pid, std::size_t limit) {
  std::string text(limit, '\0');
  auto read = read_small(proc_path(pid, "cmdline").data(), text);
  if (!read) return fail(std::move(read).error());
  text.resize(read->size());
  while (!text.empty() && text.back() == '\0') text.pop_back();
  if (text.empty()) {
    auto stat = read_stat(pid);
    if (!stat) return fail(std::move(stat).error());
    return "[" + printable(stat->name.view()) + "]";
  }
  std::ranges::replace(text, '\0', ' ');
  return printable(text);
}

std::string_view read_words(Pid pid, std::span<char> buffer) {
  auto read = read_small(proc_path(pid, "cmdline").data(), buffer);
  if (!read) return {};
  std::ranges::replace(buffer.first(read->size()), '\0', ' ');
  auto text = *read;
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

Text<40> read_wchan(Pid pid) {
  std::array<char, 64> buffer{};
  auto text = read_small(proc_path(pid, "wchan").data(), buffer);
  if (!text || *text == "0") return {};
  return Text<40>(*text);
}

std::optional<std::uint64_t> parse_storage_bytes(std::string_view text) {
  std::uint64_t sum = 0;
  int found = 0;
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    for (const std::string_view name : {"read_bytes: ", "write_bytes: "}) {
      if (!line.starts_with(name)) continue;
      std::uint64_t value = 0;
      const auto digits = line.substr(name.size());
      const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
      if (code != std::errc{}) return std::nullopt;
      sum += value;
      ++found;
    }
  }
  return found == 2 ? std::optional(sum) : std::nullopt;
}

Result<std::uint64_t> read_storage_bytes(Pid pid) {
  const auto text = read_file("/proc/" + std::to_string(pid.number) + "/io");
  if (!text) return fail(text.error());
  const auto bytes = parse_storage_bytes(*text);
  if (!bytes) return fail(Errc::bad_message, "read the storage bytes of a process");
  return *bytes;
}

void detail::each_variable(Pid pid, TextCallback callback, void* context) {
  std::array<char, 32> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/environ", pid.number);
  auto file = Fd::open(path.data(), O_RDONLY);
  if (!file) return;
  std::array<char, 8192> buffer;
  std::size_t held = 0;   // the beginning of a variable that goes on in the next piece
  bool skipping = false;  // one longer than the buffer
  for (;;) {
    const ssize_t n = ::read(file->get(), buffer.data() + held, buffer.size() - held);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (!skipping && held != 0) (void)callback(context, {buffer.data(), held});
      return;
    }
    std::string_view text(buffer.data(), held + static_cast<std::size_t>(n));
    for (auto end = text.find('\0'); end != text.npos; end = text.find('\0')) {
      if (!skipping && !callback(context, text.substr(0, end))) return;
      skipping = false;
      text.remove_prefix(end + 1);
    }
    skipping |= text.size() == buffer.size();
    held = skipping ? 0 : text.size();
    std::copy(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(held), buffer.begin());
  }
}

bool environment_has(Pid pid, std::string_view variable) {
  bool found = false;
  for_each_variable(pid, [&](std::string_view text) { return !(found = text == variable); });
  return found;
}

Text<80> read_lineage(Pid pid) {
  constexpr int kMost = 8;
  Text<80> text;
  for (int n = 0; n < kMost && pid.number > 1; ++n) {
    const auto stat = read_stat(pid);
    if (!stat) break;
    if (n != 0) text.append(" < ");
    text.append(stat->name);
    pid = stat->parent;
  }
  return text;
}

std::optional<unsigned> read_login_uid(Pid pid) {
  constexpr unsigned kNobodyYet = 0xffffffffU;
  std::array<char, 16> buffer{};
  auto text = read_small(proc_path(pid, "loginuid").data(), buffer);
  if (!text) return std::nullopt;
  const auto uid = parse_number<unsigned>(text->substr(0, text->find('\n')));
  return uid && *uid != kNobodyYet ? uid : std::nullopt;
}

Result<unsigned> read_uid(Pid pid) {
  std::array<char, 2048> buffer{};
  const auto path = proc_path(pid, "status");
  auto text = read_small(path.data(), buffer);
  if (!text) return fail(std::move(text).error());
  const auto at = text->find("\nUid:\t");
  if (at == std::string_view::npos) return fail(Errc::bad_message, path.data());
  auto digits = text->substr(at + 6);
  auto uid = parse_number<unsigned>(digits.substr(0, digits.find('\t')));
  if (!uid) return fail(Errc::bad_message, path.data());
  return *uid;
}

namespace detail {

Result<void> each_entry(const Fd& dir, Callback callback, void* context) {
  // The layout that getdents64(2) documents; glibc keeps it as dirent64 but it is the kernel's own.
  struct Entry {
    std::uint64_t inode;
    std::int64_t next;
    std::uint16_t length;
    std::uint8_t type;
    char name[1];
  };
  if (::lseek(dir.get(), 0, SEEK_SET) < 0) return fail(last_error("rewind a folder"));
  alignas(Entry) std::array<char, 2048> buffer;
  for (;;) {
    const long n = ::syscall(SYS_getdents64, dir.get(), buffer.data(), buffer.size());
    if (n < 0) return fail(last_error("list a folder"));
    if (n == 0) return {};
    for (long at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const Entry*>(buffer.data() + at);
      at += entry->length;
      const std::string_view name(entry->name);
      if (name == "." || name == "..") continue;
      if (!callback(context, name, entry->type == DT_DIR)) return {};
    }
  }
}

Result<void> each_process(PidCallback callback, void* context) {
  auto dir = Fd::open("/proc", O_RDONLY | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  return for_each_entry(*dir, [&](std::string_view name, bool) {
    if (auto pid = parse_pid(name)) callback(context, *pid);
    return true;
  });
}

namespace {

// The pids of a "children" file, each with a space behind it.
void each_listed(const Fd& file, PidCallback callback, void* context) {
  std::array<char, 1024> buffer;
  std::size_t held = 0;
  for (;;) {
    const ssize_t n = ::read(file.get(), buffer.data() + held, buffer.size() - held);
    if (n <= 0) return;
    std::string_view text(buffer.data(), held + static_cast<std::size_t>(n));
    for (auto space = text.find(' '); space != std::string_view::npos; space = text.find(' ')) {
      if (auto pid = parse_pid(text.substr(0, space))) callback(context, *pid);
      text.remove_prefix(space + 1);
    }
    held = text.size();
    std::copy(text.begin(), text.end(), buffer.begin());
  }
}

// For kernels without task/TID/children: every process is asked for its parent.
Result<void> each_child_by_parent(Pid parent, PidCallback callback, void* context) {
  return for_each_process([&](Pid pid) {
    auto stat = read_stat(pid);
    if (stat && stat->parent == parent) callback(context, pid);
  });
}

}  // namespace

Result<void> each_child(Pid parent, PidCallback callback, void* context, bool one_thread) {
  if (!kernel().proc_children) return each_child_by_parent(parent, callback, context);
  if (one_thread) {
    ProcPath path{};
    std::snprintf(path.data(), path.size(), "/proc/%d/task/%d/children", parent.number,
                  parent.number);
    auto file = Fd::open(path.data(), O_RDONLY);
    if (!file) return fail(std::move(file).error());
    each_listed(*file, callback, context);
    return {};
  }
  auto tasks = Fd::open(proc_path(parent, "task").data(), O_RDONLY | O_DIRECTORY);
  if (!tasks) return fail(std::move(tasks).error());
  return for_each_entry(*tasks, [&](std::string_view task, bool) {
    ProcPath leaf{};
    std::snprintf(leaf.data(), leaf.size(), "%.*s/children", static_cast<int>(task.size()),
                  task.data());
    auto file = Fd::open_at(*tasks, leaf.data(), O_RDONLY);
    if (file) each_listed(*file, callback, context);  // else that thread has just ended
    return true;
  });
}

}  // namespace detail

bool pids_are_the_kernels() {
  constexpr ino_t kInitial = 0xEFFFFFFC;  // PROC_PID_INIT_INO of include/linux/proc_ns.h
  struct stat info{};
  return ::stat("/proc/self/ns/pid", &info) == 0 && info.st_ino == kInitial;
}

}  // namespace gpuward::os
