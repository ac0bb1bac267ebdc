#include "warden/clerk.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdio>
#include <iterator>
#include <utility>

#include "os/clock.h"

namespace gpuward::warden {
namespace {

// An order waits no longer for its entry: a disk that hangs must not keep anybody from stopping.
constexpr auto kPatience = std::chrono::seconds(2);
constexpr const char* kNoAnswer = "the disk does not answer";

}  // namespace

void Clerk::open(std::string state, const LedgerPolicy& policy) {
  opened_unix_ms_ = os::unix_ms_now();
  ledger::Writer::Settings settings;
  settings.state = std::move(state);
  settings.policy = policy;
  settings.on_trouble = [this](const std::string& why) {
    asio::post(loop_, [this, why] {
      trouble_ = why;
      std::fprintf(stderr, "gpuwardd: the ledger %s%s\n",
                   why.empty() ? "is written again" : "cannot be written: ", why.c_str());
    });
  };
  settings.on_left_behind = [](std::size_t entries) {
    std::fprintf(stderr, "gpuwardd: %s: %zu entries of the ledger may be lost\n", kNoAnswer,
                 entries);
  };
  writer_ = std::make_unique<ledger::Writer>(std::move(settings));
}

void Clerk::set_policy(const LedgerPolicy& policy) {
  if (writer_) writer_->set_policy(policy);
}

void Clerk::note(Entries entries) {
  tell(entries);
  if (writer_) writer_->add(std::move(entries));
}

void Clerk::tell(const Entries& entries) const {
  if (!on_entry_) return;
  for (const auto& entry : entries) on_entry_(entry);
}

void Clerk::note(EventKind kind, const std::string& service, std::string why) {
  LedgerEntry entry;
  entry.kind = kind;
  entry.service = service;
  entry.why = std::move(why);
  note({std::move(entry)});
}

void Clerk::note_before(Entries entries, std::function<void(std::uint64_t)> go) {
  tell(entries);
  if (!writer_) return go(0);
  auto timer = std::make_shared<asio::steady_timer>(loop_, kPatience);
  const auto finish = [this, timer, go = std::move(go), done = std::make_shared<bool>(false)](
                          std::uint64_t number, bool late) {
    if (late) trouble_ = kNoAnswer;
    if (!late && trouble_ == kNoAnswer) trouble_.clear();
    if (std::exchange(*done, true)) return;
    timer->cancel();
    go(number);
  };
  timer->async_wait([finish](const boost::system::error_code& code) {
    if (!code) finish(0, true);
  });
  writer_->add(std::move(entries), [this, finish](std::optional<std::uint64_t> number) {
    asio::post(loop_, [finish, number] { finish(number.value_or(0), false); });
  });
}

void Clerk::import(const control::AnchorFolder& folder) {
  if (!writer_) return;
  writer_->add_from([this, journals = journals_, folder] {
    auto entries = journals->news_of(folder);
    // What happened while no warden ran is on record, and is no news.
    Entries fresh;
    std::ranges::copy_if(entries, std::back_inserter(fresh), [this](const LedgerEntry& entry) {
      return entry.at_unix_ms >= opened_unix_ms_;
    });
    if (!fresh.empty()) asio::post(loop_, [this, fresh = std::move(fresh)] { tell(fresh); });
    return entries;
  });
}

void Clerk::import_now(const control::AnchorFolder& folder) {
  if (!writer_) return;
  writer_->add_from([entries = control::JournalReader().news_of(folder)] { return entries; });
}

}  // namespace gpuward::warden
