// What a client sends, until a request is whole.

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "gateway/client.h"
#include "http/tokens.h"

namespace gpuward::gateway {
namespace {

constexpr std::uint64_t kKeptInOneTurn = 256 << 10;
constexpr std::size_t kLongestClientId = 64;

/// A number that looks random, another one for each @p n (splitmix64).
std::uint64_t scattered(std::uint64_t salt, std::uint64_t n) {
  std::uint64_t z = salt + n * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

void write_hex(std::uint64_t value, char (&into)[17]) {
  for (int n = 15; n >= 0; --n, value >>= 4) into[n] = "0123456789abcdef"[value & 15U];
  into[16] = '\0';
}

/// What may be passed on and logged as it is.
bool is_plain_id(std::string_view id) {
  const auto plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || c == '.';
  };
  return !id.empty() && id.size() <= kLongestClientId && std::ranges::all_of(id, plain);
}

std::string_view find(const http::Fields& fields, std::string_view name) {
  for (const auto& field : fields)
    if (http::equal_names(field.name, name)) return field.value;
  return {};
}

std::string_view path_of(std::string_view target) {
  return target.substr(0, target.find('?'));
}

const ClassRoute* route_for(const DoorModel& model, std::string_view path) {
  const ClassRoute* best = nullptr;
  for (const ClassRoute& route : model.routes)
    if (path.starts_with(route.prefix) &&
        (best == nullptr || route.prefix.size() > best->prefix.size()))
      best = &route;
  return best;
}

}  // namespace

void Client::read_head() {
  auto buffer = shared().buffers.take();
  std::size_t have = bytes_.size();
  std::memcpy(buffer.data(), bytes_.data(), have);
  const bool began = have > 0;
  bytes_ = {};
  while (true) {
    if (have > 0) {
      const auto end = scan_.find_end({buffer.data(), have});
      if (!end) return answer(own_answer(end.error()), false);
      if (*end > 0) {
        const std::string_view whole(buffer.data(), have);
        const auto head = http::parse_request(whole.substr(0, *end));
        if (!head) return answer(own_answer(head.error()), false);
        return take_head(*head, whole.substr(*end));
      }
    }
    const std::size_t room = http::BufferPool::kSize - 1 - have;
    const ssize_t count =
        unread_ ? ::recv(socket_.get(), buffer.data() + have, room, MSG_DONTWAIT) : -1;
    if (count > 0) {
      have += static_cast<std::size_t>(count);
      // A short read is all there was (epoll(7)); an end behind it has been told.
      unread_ = static_cast<std::size_t>(count) == room || peer_closed_;
      continue;
    }
    if (count == 0) return end();
    if (unread_ && errno == EINTR) continue;
    if (unread_ && errno != EAGAIN) return end();
    unread_ = false;
    bytes_.assign(buffer.data(), have);
    if (!began && have > 0) expect_within(patience());
    return;
  }
}

void Client::take_head(const http::RequestHead& head, std::string_view rest) {
  const DoorModel& model = service_.model();
  const ClassRoute* route = route_for(model, path_of(head.target));
  request_.framing = head.framing;
  request_.asked = {
      .head = head.method == "HEAD", .websocket = head.websocket, .minor = head.minor};
  request_.persistence = !head.keep_alive  ? http::Persistence::close
                         : head.minor == 0 ? http::Persistence::keep_alive
                                           : http::Persistence::implied;
  request_.job_class = route != nullptr ? route->job_class : model.usual;
  request_.pass = route != nullptr && route->pass;
  // Who speaks HTTP/1.0 or does not say what it is may well be a script that closes its sending
  // side and waits; a browser that does has left.
  request_.half_close =
      model.half_close || head.minor == 0 || find(head.fields, "user-agent").empty();
  request_.wants_page = head.method == "GET" &&
                        find(head.fields, "accept").find("text/html") != std::string_view::npos;
  name_request(head);
  if (has_left()) return end();
  write_head(head);
  bytes_ = rest;
  if (request_.pass) {
    Replica* replica = service_.any_ready();
    if (replica == nullptr) return answer(loading(service_.name(), std::nullopt), false);
    return begin_exchange(*replica);
  }
  request_.route = service_.route_number(path_of(head.target));
  body_scan_.emplace(head.framing);
  if (body_scan_->done()) return enter_queue();
  if (head.framing.length > model.largest_body.count)
    return answer({.status = 413,
                   .reason = "body_too_large",
                   .message = "The upload is larger than " + to_string(model.largest_body) + "."},
                  false);
  if (head.expects_continue && bytes_.empty()) {
    constexpr std::string_view kGoOn = "HTTP/1.1 100 Continue\r\n\r\n";
    ::send(socket_.get(), kGoOn.data(), kGoOn.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  body_.emplace(shared().body_memory, shared().spill_folder);
  phase_ = Phase::body;
  received_ = moved_before_ = 0;
  expect_within(patience());
  receive_body();
}

void Client::name_request(const http::RequestHead& head) {
  write_hex(scattered(shared().request_salt, ++shared().requests), request_.id);
  const auto brought = find(head.fields, "x-request-id");
  if (is_plain_id(brought)) request_.client_id = brought;
}

void Client::write_head(const http::RequestHead& head) {
  std::array<http::Field, 3> set;
  std::size_t count = 0;
  set[count++] = {"X-Request-Id", request_.shown_id()};
  set[count++] = {"X-Forwarded-Proto", "http"};
  if (!peer_.address.view().empty()) set[count++] = {"X-Forwarded-For", peer_.address};
  // All of the body is here before the replica is asked, unless it is passed on as it comes.
  constexpr std::array<std::string_view, 1> kExpect{"expect"};
  http::write_request(head, std::span(set).first(count), request_.head,
                      std::span(kExpect).first(request_.pass ? 0 : 1));
}

void Client::receive_body() {
  auto buffer = shared().buffers.take();
  std::size_t have = bytes_.size();
  std::memcpy(buffer.data(), bytes_.data(), have);
  bytes_ = {};
  for (std::uint64_t kept = 0;;) {
    if (have > 0) {
      const auto taken = body_scan_->take({buffer.data(), have});
      if (!taken) return answer(own_answer(taken.error()), false);
      if (!keep_body({buffer.data(), *taken})) return;
      kept += *taken;
      have -= *taken;
      std::memmove(buffer.data(), buffer.data() + *taken, have);
    }
    if (body_scan_->done()) break;
    if (kept >= kKeptInOneTurn) {
      watch_.again();
      bytes_.assign(buffer.data(), have);
      return;
    }
    const std::size_t room = http::BufferPool::kSize - 1 - have;
    const ssize_t count =
        unread_ ? ::recv(socket_.get(), buffer.data() + have, room, MSG_DONTWAIT) : -1;
    if (count > 0) {
      have += static_cast<std::size_t>(count);
      received_ += static_cast<std::uint64_t>(count);
      continue;
    }
    if (count == 0) return end();
    if (unread_ && errno == EINTR) continue;
    if (unread_ && errno != EAGAIN) return end();
    unread_ = false;
    bytes_.assign(buffer.data(), have);
    return;
  }
  bytes_.assign(buffer.data(), have);
  if (has_left()) return end();
  enter_queue();
}

/// False: it cannot be kept, and the client has been told.
bool Client::keep_body(std::string_view bytes) {
  const DoorModel& model = service_.model();
  if (body_->size() + bytes.size() > model.largest_body.count) {
    answer({.status = 413,
            .reason = "body_too_large",
            .message = "The upload is larger than " + to_string(model.largest_body) + "."},
           false);
    return false;
  }
  if (const auto kept = body_->append(bytes); !kept) {
    answer({.status = 507,
            .reason = "no_room_for_upload",
            .message =
                "There is no room to keep the upload while it waits: " + kept.error().message()},
           false);
    return false;
  }
  return true;
}

void Client::enter_queue() {
  if (request_.wants_page && !service_.has_ready())
    return answer(loading(service_.name(), std::nullopt), true);
  const Bytes size{body_ ? body_->size() : 0};
  const auto job = service_.arrive(*this, {.job_class = request_.job_class,
                                           .caller = peer_.caller,
                                           .route = request_.route,
                                           .size = size,
                                           .held = size});
  if (!job) return answer(own_answer(job.error()), true);
  job_ = *job;
  phase_ = Phase::waiting;
  watch_.clear_deadline();
}

}  // namespace gpuward::gateway
