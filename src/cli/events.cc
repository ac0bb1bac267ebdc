#include "cli/events.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "base/utf8.h"
#include "cli/terminal.h"
#include "cli/warden_client.h"
#include "control/journal.h"
#include "domain/exit_code.h"
#include "ledger/ledger.h"
#include "os/clock.h"

namespace gpuward::cli {
namespace {

namespace json = boost::json;

constexpr std::size_t kLines = 50;
constexpr int kImportAgainMs = 1000;

using Show = void (*)(const LedgerEntry& entry, const ledger::Hash& hash);

// In the time of whoever reads it.
std::string local_time(std::int64_t unix_ms) {
  const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  char text[40];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  char all[48];
  std::snprintf(all, sizeof all, "%s.%03d", text, static_cast<int>(unix_ms % 1000));
  return all;
}

Tone tone_of(EventKind kind) {
  switch (kind) {
    case EventKind::failed:
    case EventKind::unkillable:
    case EventKind::set_aside:
    case EventKind::gpu_off_bus:
      return Tone::bad;
    case EventKind::killing:
    case EventKind::backing_off:
    case EventKind::alarm:
    case EventKind::log_lost:
    case EventKind::adoption:
    case EventKind::revival:
    case EventKind::tree_killed:
    case EventKind::missed:
    case EventKind::xid:
    case EventKind::kernel_log_lost:
      return Tone::warn;
    case EventKind::ready:
      return Tone::good;
    default:
      return Tone::plain;
  }
}

void show_line(const LedgerEntry& entry, const ledger::Hash& hash) {
  (void)hash;
  std::string what;
  const auto add = [&](const std::string& text) {
    if (!text.empty()) what += (what.empty() ? "" : "; ") + printable(text);
  };
  add(entry.why);
  add(entry.evidence);
  add(entry.outcome);
  if (entry.actor) add("by " + describe(entry.actor));
  std::printf("%s  %-16s  %s%s%s\n", paint(Tone::faint, local_time(entry.at_unix_ms)).c_str(),
              entry.service.empty() ? "-" : printable(entry.service).c_str(),
              paint(tone_of(entry.kind), to_string(entry.kind)).c_str(), what.empty() ? "" : "  ",
              what.c_str());
}

void show_whole(const LedgerEntry& entry, const ledger::Hash& hash) {
  std::printf("%llu  %s  %s  %s\n", static_cast<unsigned long long>(entry.number),
              local_time(entry.at_unix_ms).c_str(),
              entry.service.empty() ? "-" : printable(entry.service).c_str(),
              paint(tone_of(entry.kind), to_string(entry.kind)).c_str());
  const auto line = [](const char* name, const std::string& text) {
    if (!text.empty()) std::printf("    %-9s %s\n", name, printable(text).c_str());
  };
  line("by", entry.actor ? describe(entry.actor) : "gpuward, by its own rules");
  line("why", entry.why);
  line("evidence", entry.evidence);
  line("outcome", entry.outcome);
  if (entry.of != 0) line("of entry", std::to_string(entry.of));
  if (entry.generation != 0) line("main", "generation " + std::to_string(entry.generation));
  line("hash", ledger::to_hex(hash));
}

json::object entry_json(const LedgerEntry& entry, const ledger::Hash& hash) {
  json::value actor = nullptr;
  if (entry.actor)
    actor = {{"uid", entry.actor->uid},
             {"login_uid",
              entry.actor->has_login ? json::value(entry.actor->login_uid) : json::value(nullptr)},
             {"pid", entry.actor->pid.number},
             {"command", std::string(entry.actor->command.view())}};
  return {{"number", entry.number},
          {"at_unix_ms", entry.at_unix_ms},
          {"event", to_string(entry.kind)},
          {"service", entry.service.empty() ? json::value(nullptr) : json::value(entry.service)},
          {"replica", entry.replica},
          {"generation", entry.generation},
          {"actor", std::move(actor)},
          {"why", entry.why},
          {"evidence", entry.evidence},
          {"outcome", entry.outcome},
          {"of", entry.of == 0 ? json::value(nullptr) : json::value(entry.of)},
          {"hash", ledger::to_hex(hash)}};
}

void show_json(const LedgerEntry& entry, const ledger::Hash& hash) {
  std::printf("%s\n", printable(json::serialize(entry_json(entry, hash))).c_str());
}

// Where a warden runs it has taken them over already.
void import_without_warden(const control::Home& home) {
  if (connect_warden(home)) return;
  const auto folders = control::list_anchors(home);
  if (!folders || folders->empty()) return;
  if (auto imported = import_journals(home, *folders); !imported)
    std::fprintf(stderr, "gpuward: what the anchors have noted is not in the ledger yet: %s\n",
                 imported.error().message().c_str());
}

int nothing_recorded(const Error& error) {
  if (error.code.value() != ENOENT) return complain(error);
  std::fputs("gpuward: nothing is recorded here yet\nrun: gpuward up, or gpuward run -- COMMAND\n",
             stderr);
  return kFailed;
}

Result<void> show_new(const control::Home& home, ledger::Query& query, Show show) {
  auto book = ledger::Ledger::open_for_reading(home.state);
  if (!book) return fail(std::move(book).error());
  auto shown = book->for_each(query, [&](const LedgerEntry& entry, const ledger::Hash& hash) {
    show(entry, hash);
    query.after = entry.number;
  });
  std::fflush(stdout);
  query.last.reset();
  return shown;
}

// The head is replaced after each entry. SQLite's own files change by being read.
bool head_was_replaced(const os::Fd& watch) {
  alignas(inotify_event) std::array<char, 4096> buffer;
  bool news = false;
  for (;;) {
    const ssize_t n = ::read(watch.get(), buffer.data(), buffer.size());
    if (n <= 0) return news;
    for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(n);) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      news |= event.len != 0 &&
              std::string_view(buffer.data() + at + sizeof event) == ledger::kHeadFile;
      at += sizeof event + event.len;
    }
  }
}

int follow(const control::Home& home, ledger::Query& query, Show show) {
  const os::Fd watch = os::Fd::take(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch || ::inotify_add_watch(watch.get(), home.state.c_str(), IN_MOVED_TO) < 0)
    return complain(last_error("watch", home.state));
  for (bool news = true;;) {
    if (news) {
      auto shown = show_new(home, query, show);
      if (!shown && shown.error().code.value() != ENOENT) return complain(shown.error());
    }
    pollfd items[] = {{watch.get(), POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
    const int ready = ::poll(items, 2, kImportAgainMs);
    if (ready < 0 && errno != EINTR) return complain(last_error("wait"));
    if ((items[1].revents & (POLLERR | POLLHUP)) != 0) return kDone;  // nobody reads any more
    if (ready == 0) import_without_warden(home);
    news = head_was_replaced(watch);
  }
}

int show_entries(const EventsOptions& options, Show show) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  import_without_warden(*home);
  ledger::Query query;
  query.services = options.services;
  if (options.since)
    query.since_unix_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                              (os::wall_now() - *options.since).time_since_epoch())
                              .count();
  if (options.lines || !options.since) query.last = options.lines.value_or(kLines);
  if (options.json) show = show_json;
  if (options.follow) return follow(*home, query, show);
  if (auto shown = show_new(*home, query, show); !shown) return nothing_recorded(shown.error());
  if (query.after == 0 && !options.json) std::printf("no such entries\n");
  return kDone;
}

}  // namespace

Result<void> import_journals(const control::Home& home,
                             const std::vector<control::AnchorFolder>& folders) {
  control::JournalReader reader;
  std::vector<LedgerEntry> entries;
  for (const auto& folder : folders)
    for (auto& entry : reader.news_of(folder)) entries.push_back(std::move(entry));
  if (entries.empty()) return {};
  auto book = ledger::Ledger::open(home.state);
  if (!book) return fail(std::move(book).error());
  return book->append(entries);
}

int events(const EventsOptions& options) {
  return show_entries(options, show_line);
}

int audit(const EventsOptions& options) {
  const int code = show_entries(options, show_whole);
  if (code == kDone && !options.json)
    std::printf("%s\n", paint(Tone::faint, "next: gpuward audit verify").c_str());
  return code;
}

int audit_verify(const std::string& head, bool as_json) {
  std::optional<ledger::Head> known;
  if (!head.empty()) {
    const auto hash = ledger::parse_hash(head);
    if (!hash) {
      std::fprintf(stderr, "gpuward: '%s' is no head: 64 hexadecimal digits are one\n",
                   printable(head).c_str());
      return kUsage;
    }
    known = ledger::Head{0, *hash};
  }
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  auto book = ledger::Ledger::open_for_reading(home->state);
  if (!book) return nothing_recorded(book.error());
  auto found = book->verify(known);
  if (!found) return complain(found.error());
  if (as_json) {
    const json::object object = {
        {"holds", found->ok()},
        {"entries", found->entries},
        {"first", found->first},
        {"head", {{"number", found->head.number}, {"hash", ledger::to_hex(found->head.hash)}}},
        {"broken_at", found->ok() ? json::value(nullptr) : json::value(found->broken_at)},
        {"problem", found->ok() ? json::value(nullptr) : json::value(found->what)}};
    std::printf("%s\n", json::serialize(object).c_str());
    return found->ok() ? kDone : kFailed;
  }
  if (!found->ok()) {
    std::fprintf(stderr, "gpuward: the ledger does not hold: %s\n", found->what.c_str());
    return kFailed;
  }
  std::printf("the ledger holds: %llu entries, from %llu to %llu\nhead  %s\n",
              static_cast<unsigned long long>(found->entries),
              static_cast<unsigned long long>(found->first),
              static_cast<unsigned long long>(found->head.number),
              ledger::to_hex(found->head.hash).c_str());
  std::printf("%s\n",
              paint(Tone::faint, "keep the head elsewhere; later: gpuward audit verify --head HEAD")
                  .c_str());
  return kDone;
}

}  // namespace gpuward::cli
