#include "warden/kernel_log.h"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>

#include "os/clock.h"
#include "os/fd.h"
#include "os/proc_fs.h"

namespace gpuward::warden {
namespace {

constexpr auto kOpenAgain = std::chrono::seconds(30);
constexpr int kInOneTurn = 256;  // then others have theirs
constexpr const char* kNotedFile = "kernel-log.noted";
constexpr auto kNewcomersEvery = std::chrono::seconds(1);
constexpr auto kClockSlack = std::chrono::seconds(2);

KernelLogSight sight_after(const Error& why) {
  switch (why.code.value()) {
    case EPERM:
    case EACCES:
      return KernelLogSight::no_permission;
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return KernelLogSight::absent;
    default:
      return KernelLogSight::failed;
  }
}

Duration clock_now(clockid_t id) {
  timespec value{};
  ::clock_gettime(id, &value);
  return std::chrono::seconds(value.tv_sec) + std::chrono::nanoseconds(value.tv_nsec);
}

// When it was said, on CLOCK_MONOTONIC: the kernel's own time for what is old, else now.
Instant time_of(const os::Kmsg::Entry& entry, Instant now) {
  if (!entry.old) return now;
  return std::min(now, Instant(entry.since_boot));
}

// Was the process with these start ticks there already at @p at?
bool was_there(std::uint64_t start_ticks, Instant at) {
  const auto hertz = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  const auto start = std::chrono::milliseconds(start_ticks * 1000 / hertz);
  const auto asleep = clock_now(CLOCK_BOOTTIME) - clock_now(CLOCK_MONOTONIC);
  return start - asleep <= at.time_since_epoch() + kClockSlack;
}

// Only for the record: neither does anybody have to do anything, nor does the card suffer.
bool is_noise(const XidIncident& incident) {
  const auto& judged = incident.judged;
  return judged.action == XidAction::none && judged.consequence == CardConsequence::none;
}

}  // namespace

bool KernelLog::Allowance::take(Instant now) {
  if (at != Instant{})
    left = std::min(kBurst, left + kPerSecond * std::chrono::duration<double>(now - at).count());
  at = now;
  if (left < 1) {
    ++folded;
    return false;
  }
  left -= 1;
  return true;
}

KernelLog::KernelLog(asio::io_context& loop, Fleet& fleet, Clerk& clerk, std::string state)
    : loop_(loop),
      fleet_(fleet),
      clerk_(clerk),
      state_(std::move(state)),
      ready_(loop),
      retry_(loop) {}

KernelLog::~KernelLog() {
  stop();
}

void KernelLog::stop() {
  retry_.cancel();
  if (ready_.is_open()) (void)ready_.release();  // the log owns it
  if (log_) lost_before_ += log_->lost();
  if (log_ && log_->next_sequence()) read_before_ = *log_->next_sequence();
  log_.reset();
}

void KernelLog::read(const std::string& path) {
  const char* instead = std::getenv("GPUWARD_KMSG");
  const std::string wanted = instead != nullptr ? instead : path;
  if (wanted == path_ && (log_ || path_.empty())) return;
  stop();
  path_ = wanted;
  sight_ = KernelLogSight::off;
  detail_.clear();
  if (path_.empty()) return;
  boot_ = std::string(os::boot_id().value_or(os::BootId()).view());
  read_noted();
  open();
}

void KernelLog::open() {
  auto log = os::Kmsg::open(path_, os::Kmsg::From::boot);
  if (!log) return cannot_read(log.error());
  log_ = std::make_unique<os::Kmsg>(std::move(*log));
  log_->go_on_from(read_before_);  // or what was counted would be counted again
  boost::system::error_code code;
  (void)ready_.assign(log_->fd(), code);
  if (code) {
    log_.reset();
    return cannot_read(error_from(code.value(), "watch", path_));
  }
  can_read();
  drain();
}

void KernelLog::open_again_later() {
  retry_.expires_after(kOpenAgain);
  retry_.async_wait([this](const boost::system::error_code& code) {
    if (!code && !log_) open();
  });
}

// A fact about this machine, or about our rights on it; said once.
void KernelLog::cannot_read(const Error& why) {
  const auto sight = sight_after(why);
  const bool news = sight != sight_;
  sight_ = sight;
  detail_ = why.message();
  if (news) clerk_.note(EventKind::kernel_log_unreadable, "", detail_);
  open_again_later();
}

void KernelLog::can_read() {
  const bool there = log_->is_there();
  const auto before = std::exchange(sight_, there ? KernelLogSight::read : KernelLogSight::absent);
  if (before == sight_) return;
  detail_ = there ? "" : "'" + path_ + "' is awaited";
  if (!there) return clerk_.note(EventKind::kernel_log_unreadable, "", detail_);
  if (before != KernelLogSight::off) clerk_.note(EventKind::kernel_log_read, "", path_);
}

void KernelLog::wait() {
  ready_.async_wait(asio::posix::stream_descriptor::wait_read,
                    [this](const boost::system::error_code& code) {
                      if (!code && log_) drain();
                    });
}

void KernelLog::drain() {
  for (int count = 0; count < kInOneTurn; ++count) {
    auto entry = log_->next();
    if (!entry) {
      stop();
      return cannot_read(entry.error());
    }
    if (!*entry) {
      can_read();
      note_lost();
      write_noted();
      return wait();
    }
    see(**entry);
  }
  asio::post(loop_, [this, log = log_.get()] {
    if (log_.get() == log && log_) drain();
  });
}

void KernelLog::see(const os::Kmsg::Entry& entry) {
  if (!entry.from_kernel) return;  // a program may write there too
  const auto text = entry.whole_record ? entry.text : kernel_message(entry.text);
  if (--announced_for_ < 0) announced_.reset();
  if (const auto card = announced_card(text)) {
    announced_ = card;
    announced_for_ = 2;
  }
  const auto line = parse_card_line(text);
  if (const auto* xid = std::get_if<XidLine>(&line)) see_xid(*xid, entry);
  if (const auto* off_bus = std::get_if<OffBusLine>(&line)) see_off_bus(*off_bus, entry);
  if (const auto* named = std::get_if<CardNameLine>(&line);
      named != nullptr && (names_.size() < XidHistory::kMostCards || names_.contains(named->card)))
    names_[named->card] = named->uuid;
}

// What `gpuward run` has started since is met by whoever asks for it first.
std::optional<TreeOwner> KernelLog::find_owner(Pid pid, bool lives) {
  auto owner = owner_of(fleet_.members(), pid);
  if (owner || !lives || os::now() - looked_for_newcomers_ < kNewcomersEvery) return owner;
  looked_for_newcomers_ = os::now();
  if (auto found = fleet_.find_newcomers(); !found)
    std::fprintf(stderr, "gpuwardd: %s, ignoring\n", found.error().message().c_str());
  return owner_of(fleet_.members(), pid);
}

// The number in the line is the host's. It is looked up only where it means the same here.
XidFacts KernelLog::facts_of(const XidLine& line, Instant at, bool old, std::uint32_t& generation) {
  XidFacts facts;
  facts.at = at;
  if (!line.pid || !os::pids_are_the_kernels()) return facts;
  const Pid pid{static_cast<pid_t>(*line.pid)};
  const auto stat = os::read_stat(pid);
  if (stat && !was_there(stat->start_ticks, at)) return facts;  // the number's next owner
  if (stat) facts.start_ticks = stat->start_ticks;
  const auto owner = find_owner(pid, stat.has_value());
  if (!owner) return facts;
  facts.service = owner->service;
  generation = owner->generation;
  const auto member = fleet_.members().find(owner->service);
  if (!old && member != fleet_.members().end()) facts.tree_ended = tree_ended(member->second, at);
  return facts;
}

void KernelLog::see_xid(const XidLine& line, const os::Kmsg::Entry& entry) {
  const Instant at = time_of(entry, os::now());
  std::uint32_t generation = 0;
  const auto facts = facts_of(line, at, entry.old, generation);
  history_.forget_old(os::now());
  const auto& incident = history_.add(line, facts);
  note(incident, EventKind::xid, entry, at, generation);
  tell(incident, entry.old);
}

void KernelLog::see_events(const GpuSnapshot& snapshot) {
  if (sight_ == KernelLogSight::read) return;
  for (const GpuEvent& event : snapshot.events) {
    if (event.kind != GpuEventKind::xid) continue;
    const auto card = std::ranges::find(snapshot.devices, event.index, &GpuDevice::index);
    if (card == snapshot.devices.end()) continue;
    XidLine line;
    line.number = static_cast<std::uint32_t>(event.data);
    const auto address = address_of(*card, snapshot);
    if (!address) continue;
    line.card = *address;
    XidFacts facts;
    facts.at = std::min(os::now(), Instant(std::chrono::nanoseconds(event.at_ns)));
    history_.forget_old(os::now());
    const auto& incident = history_.add(line, facts);
    note(incident, EventKind::xid, {}, facts.at, 0);
    tell(incident, false);
  }
}

void KernelLog::see_off_bus(const OffBusLine& line, const os::Kmsg::Entry& entry) {
  const Instant at = time_of(entry, os::now());
  history_.forget_old(os::now());
  const auto& incident = history_.add_off_bus(line.card ? line.card : announced_, at);
  note(incident, EventKind::gpu_off_bus, entry, at, 0);
  tell(incident, entry.old);
}

void KernelLog::tell(const XidIncident& incident, bool old) {
  if (!old && on_incident_) on_incident_(incident);
}

bool KernelLog::is_noted(const os::Kmsg::Entry& entry) const {
  return entry.old && noted_ && entry.sequence <= *noted_;
}

// Numbers and names of processes, and what follows; nothing else of the line (harm.md 11).
void KernelLog::note(const XidIncident& incident, EventKind kind, const os::Kmsg::Entry& entry,
                     Instant at, std::uint32_t generation) {
  if (log_ && log_->kind() == os::Kmsg::Kind::device) noted_now_ = entry.sequence;
  if (is_noted(entry)) return;
  const bool first = incident.times == 1;
  if (allowances_.size() > XidHistory::kMostCards) allowances_.clear();
  auto& allowance = allowances_[incident.line.card];
  const bool matters = first && incident.judged.consequence != CardConsequence::none;
  if (!allowance.take(os::now()) && !matters) return;
  LedgerEntry written;
  written.kind = kind;
  written.service = incident.service;
  written.generation = generation;
  written.at_unix_ms = os::unix_ms_now() - (os::now() - at) / std::chrono::milliseconds(1);
  written.why = incident.judged.sentence;
  written.evidence = "card " + name_of(incident) + ", " +
                     std::string(to_string(incident.judged.xid_class)) + ", " +
                     std::string(to_string(incident.judged.action));
  if (incident.judged.consequence != CardConsequence::none)
    written.evidence += ", " + std::string(to_string(incident.judged.consequence));
  if (!first) written.evidence += ", " + std::to_string(incident.times) + " times so far";
  if (const auto folded = std::exchange(allowance.folded, 0); folded != 0)
    written.evidence += ", " + std::to_string(folded) + " others of this card are not written down";
  clerk_.note({std::move(written)});
}

std::string KernelLog::name_of(const XidIncident& incident) const {
  if (!incident.card_is_known) return "unknown";
  const auto name = names_.find(incident.line.card);
  return to_string(incident.line.card) +
         (name == names_.end() ? "" : " (" + std::string(name->second.view()) + ")");
}

void KernelLog::note_lost() {
  const auto lost = lost_before_ + log_->lost();
  if (lost == told_lost_) return;
  clerk_.note(EventKind::kernel_log_lost, "",
              std::to_string(lost - std::exchange(told_lost_, lost)) +
                  " records were overwritten before they could be read");
}

void KernelLog::read_noted() {
  noted_.reset();
  const auto text = os::read_file(state_ + "/" + kNotedFile, 256).value_or("");
  const auto blank = text.find(' ');
  if (boot_.empty() || blank == text.npos || text.substr(0, blank) != boot_) return;
  std::uint64_t sequence = 0;
  const auto parsed = std::from_chars(text.data() + blank + 1, text.data() + text.size(), sequence);
  if (parsed.ec == std::errc{}) noted_ = sequence;
}

// So that the next warden does not write the same down again.
void KernelLog::write_noted() {
  if (!noted_now_ || (noted_ && *noted_now_ <= *noted_) || boot_.empty()) return;
  noted_ = noted_now_;
  const std::string text = boot_ + " " + std::to_string(*noted_) + "\n";
  const auto written = os::replace_file_at(os::Fd(), (state_ + "/" + kNotedFile).c_str(),
                                           std::as_bytes(std::span(text)), 0600);
  if (!written)
    std::fprintf(stderr, "gpuwardd: the next warden will note these Xids again: %s\n",
                 written.error().message().c_str());
}

std::optional<PciAddress> KernelLog::address_of(const GpuDevice& device,
                                                const GpuSnapshot& snapshot) const {
  if (auto told = parse_pci(device.place.pci_bus_id)) return told;
  for (const auto& [address, name] : names_)
    if (name.view() == device.uuid) return address;
  const auto cards = history_.cards();
  if (snapshot.devices.size() == 1 && cards.size() == 1) return cards.front();
  return std::nullopt;
}

std::string KernelLog::uuid_of(const PciAddress& address, const GpuSnapshot& snapshot) const {
  for (const auto& device : snapshot.devices)
    if (address_of(device, snapshot) == address) return device.uuid;
  const auto name = names_.find(address);
  return name == names_.end() ? "" : std::string(name->second.view());
}

std::string KernelLog::uuid_of_unknown(const GpuSnapshot& snapshot) const {
  if (snapshot.devices.size() != 1) return "";
  const GpuDevice& only = snapshot.devices.front();
  const auto own = address_of(only, snapshot);
  // One that is off the bus may be in no list any more.
  const auto is_other = [&](const PciAddress& address) { return own != address; };
  if (std::ranges::any_of(history_.cards(), is_other)) return "";
  if (std::ranges::any_of(names_, is_other, [](const auto& name) { return name.first; })) return "";
  return only.uuid;
}

KernelLogReport KernelLog::report() const {
  return {sight_, path_, detail_, lost_before_ + (log_ ? log_->lost() : 0)};
}

std::vector<CardIncident> KernelLog::incidents(const GpuSnapshot& snapshot) const {
  std::vector<const XidIncident*> shown;
  const auto add = [&](const XidIncident& incident) {
    if (!is_noise(incident)) shown.push_back(&incident);
  };
  for (const auto& address : history_.cards())
    std::ranges::for_each(history_.of_card(address), add);
  std::ranges::for_each(history_.of_unknown_card(), add);
  std::ranges::sort(shown, std::greater(), &XidIncident::last);
  if (shown.size() > kMostShown) shown.resize(kMostShown);
  std::vector<CardIncident> list;
  const Instant now = os::now();
  const auto age = [now](Instant at) { return std::chrono::duration<double>(now - at).count(); };
  for (const auto* incident : shown) {
    const XidLine& line = incident->line;
    CardIncident one;
    if (incident->card_is_known) {
      one.gpu_uuid = uuid_of(line.card, snapshot);
      one.pci = to_string(line.card);
    } else if (snapshot.devices.size() == 1) {
      one.gpu_uuid = snapshot.devices.front().uuid;
    }
    one.xid = line.number;
    one.in_words = incident->off_bus_text;
    one.xid_class = incident->judged.xid_class;
    one.action = incident->judged.action;
    one.consequence = incident->judged.consequence;
    one.pid = line.pid;
    one.process = std::string(line.process.view());
    one.service = incident->service;
    one.times = incident->times;
    one.first_age_seconds = age(incident->first);
    one.age_seconds = age(incident->last);
    one.sentence = incident->judged.sentence;
    list.push_back(std::move(one));
  }
  return list;
}

}  // namespace gpuward::warden
