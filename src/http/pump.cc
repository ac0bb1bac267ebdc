#include "http/pump.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cassert>
#include <cerrno>
#include <cstring>

namespace gpuward::http {

Pump::Pump(BufferPool& pool, Framing framing, std::string head, std::string_view came)
    : pool_(pool), scan_(framing), head_(std::move(head)), aside_(came) {
  assert(came.size() < BufferPool::kSize);
}

Pump::State Pump::run(const os::Fd& from, const os::Fd& to) {
  const State state = pass_on(from, to);
  if (state != State::wants_room) put_aside();
  return state;
}

Pump::State Pump::pass_on(const os::Fd& from, const os::Fd& to) {
  const std::uint64_t until = sent_ + kOneTurn;
  all_is_read_ = false;
  if (!aside_.empty()) take_up();
  while (true) {
    if (!follow()) return State::malformed;
    while (something_to_send()) {
      const Step step = send_some(to);
      if (step == Step::blocked) return State::wants_room;
      if (step == Step::lost) return State::receiver_lost;
    }
    drop_what_was_sent();
    if (scan_.done()) return State::done;
    if (sent_ >= until) return State::wants_turn;
    if (all_is_read_) return State::wants_bytes;
    switch (read_some(from)) {
      case Step::went_on:
        break;
      case Step::blocked:
        return State::wants_bytes;
      case Step::lost:
        return State::sender_lost;
      case Step::ended:
        return scan_.whole_at_close() ? State::done : State::cut_off;
    }
  }
}

void Pump::take_up() {
  buffer_ = pool_.take();
  std::memcpy(buffer_.data(), aside_.data(), aside_.size());
  end_ = aside_.size();
  aside_ = {};
}

void Pump::put_aside() {
  if (!buffer_) return;
  drop_what_was_sent();
  aside_.assign(buffer_.data(), end_);
  buffer_.give_back();
  passable_ = end_ = 0;
}

bool Pump::follow() {
  if (passable_ == end_) return true;
  const auto taken = scan_.take({buffer_.data() + passable_, end_ - passable_});
  if (taken) {
    passable_ += *taken;
    return true;
  }
  refusal_ = taken.error();
  return false;
}

Pump::Step Pump::send_some(const os::Fd& to) {
  if (discards_) {
    note_sent(head_.size() - head_sent_ + passable_ - begin_);
    return Step::went_on;
  }
  constexpr int kFlags = MSG_NOSIGNAL | MSG_DONTWAIT;
  const std::size_t of_body = passable_ - begin_;
  ssize_t count = 0;
  if (of_body == 0) {  // send(2) costs less
    count = ::send(to.get(), head_.data() + head_sent_, head_.size() - head_sent_, kFlags);
  } else if (head_sent_ == head_.size()) {
    count = ::send(to.get(), buffer_.data() + begin_, of_body, kFlags);
  } else {
    iovec parts[2] = {{head_.data() + head_sent_, head_.size() - head_sent_},
                      {buffer_.data() + begin_, of_body}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    count = ::sendmsg(to.get(), &message, kFlags);
  }
  if (count < 0) {
    if (errno == EINTR) return Step::went_on;
    return errno == EAGAIN ? Step::blocked : Step::lost;
  }
  note_sent(static_cast<std::size_t>(count));
  return Step::went_on;
}

void Pump::note_sent(std::size_t sent) {
  const auto of_head = std::min(sent, head_.size() - head_sent_);
  head_sent_ += of_head;
  if (keeps_tail_ && sent > of_head) note_tail({buffer_.data() + begin_, sent - of_head});
  begin_ += sent - of_head;
  sent_ += sent;
}

void Pump::note_tail(std::string_view passed) {
  if (passed.size() > kTail) passed.remove_prefix(passed.size() - kTail);
  const std::size_t whole = tail_.size() + passed.size();
  if (whole > kTail) tail_.erase(0, whole - kTail);
  tail_ += passed;
}

void Pump::drop_what_was_sent() {
  if (head_sent_ == head_.size() && !head_.empty()) {
    head_ = {};
    head_sent_ = 0;
  }
  if (!buffer_) return;
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  passable_ -= begin_;
  end_ -= begin_;
  begin_ = 0;
}

Pump::Step Pump::read_some(const os::Fd& from) {
  if (!buffer_) buffer_ = pool_.take();
  const std::size_t room = BufferPool::kSize - end_;
  const ssize_t count = ::recv(from.get(), buffer_.data() + end_, room, MSG_DONTWAIT);
  if (count == 0) return Step::ended;
  if (count < 0) {
    if (errno == EINTR) return Step::went_on;
    return errno == EAGAIN ? Step::blocked : Step::lost;
  }
  end_ += static_cast<std::size_t>(count);
  all_is_read_ = trusts_short_reads_ && static_cast<std::size_t>(count) < room;
  return Step::went_on;
}

}  // namespace gpuward::http
