#include "cli/metrics.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/utf8.h"
#include "cli/look_commands.h"
#include "cli/scrape.h"
#include "cli/warden_client.h"
#include "control/gpu_look.h"
#include "domain/exit_code.h"
#include "domain/metrics.h"
#include "os/clock.h"
#include "os/socket.h"

namespace gpuward::cli {
namespace {

constexpr auto kLookWithin = std::chrono::seconds(5);
constexpr auto kFresh = std::chrono::milliseconds(900);  // scrapers of a second each see news
constexpr auto kClientWithin = std::chrono::seconds(10);
constexpr std::size_t kMostClients = 16;

std::string text_now(const control::Home& home) {
  StatusReport report;
  if (auto found = look(home, {}, true)) report = std::move(*found);
  if (!report.warden) report.gpu = control::look_at_gpus(os::now() + kLookWithin);
  return metrics_text(report, GPUWARD_VERSION, os::now());
}

/// The text, made anew when it is older than kFresh: however many ask.
class Text {
 public:
  explicit Text(const control::Home& home) : home_(home) {}
  const std::string& get() {
    if (text_.empty() || os::now() - made_ > kFresh) {
      text_ = text_now(home_);
      made_ = os::now();
    }
    return text_;
  }

 private:
  const control::Home& home_;
  std::string text_;
  Instant made_;
};

/// One connection: reads a request, writes an answer, ends.
class Client {
 public:
  explicit Client(os::Fd socket) : socket_(std::move(socket)), ends_(os::now() + kClientWithin) {}

  int fd() const { return socket_.get(); }
  Instant ends() const { return ends_; }
  short wants() const { return answer_.empty() ? POLLIN : POLLOUT; }
  /// Goes on as far as it can without waiting. False: it is done with.
  bool step(Text& text) { return answer_.empty() ? read(text) : write(); }

 private:
  bool read(Text& text) {
    std::array<char, 4096> part;
    const ssize_t n = ::recv(socket_.get(), part.data(), part.size(), MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    received_.append(part.data(), static_cast<std::size_t>(n));
    const auto verdict = judge_scrape(received_);
    if (!verdict) return true;
    answer_ = scrape_answer(*verdict, verdict->status == 200 ? text.get() : std::string());
    return write();
  }
  bool write() {
    const ssize_t n = ::send(socket_.get(), answer_.data() + sent_, answer_.size() - sent_,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    sent_ += static_cast<std::size_t>(n);
    if (sent_ < answer_.size()) return true;
    ::shutdown(socket_.get(), SHUT_WR);
    return false;
  }

  os::Fd socket_;
  Instant ends_;
  std::string received_;
  std::string answer_;
  std::size_t sent_ = 0;
};

void accept_clients(const os::Fd& listener, std::vector<Client>& clients) {
  while (clients.size() < kMostClients) {
    os::Fd socket = os::Fd::take(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) return;
    clients.emplace_back(std::move(socket));
  }
}

// Waits for whoever has something to say; who is late is let go. Others wait in the kernel's queue.
[[noreturn]] void serve(const os::Fd& listener, Text& text) {
  std::vector<Client> clients;
  for (;;) {
    std::vector<pollfd> items = {{clients.size() < kMostClients ? listener.get() : -1, POLLIN, 0}};
    Instant next = os::kNever;
    for (const auto& client : clients) {
      items.push_back({client.fd(), client.wants(), 0});
      next = std::min(next, client.ends());
    }
    ::poll(items.data(), items.size(), os::poll_timeout(next));
    std::vector<Client> still;
    for (std::size_t n = 0; n < clients.size(); ++n) {
      const bool ready = items[n + 1].revents != 0;
      if (os::now() < clients[n].ends() && (!ready || clients[n].step(text)))
        still.push_back(std::move(clients[n]));
    }
    clients = std::move(still);
    if (items[0].revents != 0) accept_clients(listener, clients);
  }
}

bool is_loopback(const os::TcpAddress& address) {
  if (address.storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address.storage, sizeof v4);
    return (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
  }
  sockaddr_in6 v6{};
  std::memcpy(&v6, &address.storage, sizeof v6);
  return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

Result<os::Fd> listen_tcp(const std::string& text) {
  const auto address = os::parse_tcp_address(text);
  if (!address)
    return fail(Errc::invalid, "listen on '" + printable(text) +
                                   "': write it as 127.0.0.1:9477, [::1]:9477 or unix:PATH");
  if (!is_loopback(*address))
    return fail(
        Errc::refused,
        "listen on '" + text + "': only this machine may read it (127.0.0.1, [::1], unix:PATH)");
  os::Fd socket = os::Fd::take(
      ::socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail(last_error("listen on", text));
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address->storage), address->length) <
          0 ||
      ::listen(socket.get(), static_cast<int>(kMostClients)) < 0)
    return fail(last_error("listen on", text));
  return socket;
}

Result<os::Fd> listen_unix(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty()) return fail(Errc::invalid, "listen on 'unix:" + printable(path) + "'");
  auto dir = os::Fd::open(folder, O_PATH | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  auto socket = os::listen_unix_at(*dir, name, static_cast<int>(kMostClients));
  if (!socket) return socket;
  if (auto done = socket->set_nonblocking(true); !done) return fail(std::move(done).error());
  return socket;
}

}  // namespace

int metrics(const std::string& listen) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  if (listen.empty()) {
    std::fputs(text_now(*home).c_str(), stdout);
    return kDone;
  }
  const auto listener =
      listen.starts_with("unix:") ? listen_unix(listen.substr(5)) : listen_tcp(listen);
  if (!listener) return complain(listener.error());
  std::printf("metrics: GET /metrics on %s\n", printable(listen).c_str());
  std::fflush(stdout);
  if (const char* socket = std::getenv("NOTIFY_SOCKET"); socket != nullptr)
    (void)os::notify(socket, "READY=1");
  Text text(*home);
  serve(*listener, text);
}

}  // namespace gpuward::cli
