#include "cli/film_clients.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "os/clock.h"
#include "os/fd.h"
#include "os/socket.h"

namespace gpuward::cli {
namespace {

constexpr std::size_t kMaxFilm = 64 << 20;
constexpr std::size_t kMaxAnswer = 1 << 20;

// One connection: upload, then read until the service closes.
struct Client {
  os::Fd socket;
  std::size_t film = 0;
  Instant leaves_at;
  std::string head;
  std::size_t sent = 0;
  std::string answer;
};

std::string request_head(const Film& film, const ClientPlan& plan) {
  return "POST /analyze HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
         "Accept-Language: en\r\nContent-Type: application/octet-stream\r\n" +
         std::string(plan.ask_faults ? "X-Film-Fault: yes\r\n" : "") +
         "Content-Length: " + std::to_string(film.bytes.size()) + "\r\n\r\n";
}

enum class Step { goes_on, answered, broken };

Step send_more(Client& client, const Film& film) {
  const std::size_t head = client.head.size();
  while (client.sent < head + film.bytes.size()) {
    const std::string_view rest = client.sent < head
                                      ? std::string_view(client.head).substr(client.sent)
                                      : std::string_view(film.bytes).substr(client.sent - head);
    const ssize_t n = ::send(client.socket.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN || errno == ENOTCONN ? Step::goes_on : Step::broken;
    client.sent += static_cast<std::size_t>(n);
  }
  return Step::goes_on;
}

Step read_more(Client& client) {
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::recv(client.socket.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN ? Step::goes_on : Step::broken;
    if (n == 0) return client.answer.empty() ? Step::broken : Step::answered;
    client.answer.append(buffer, static_cast<std::size_t>(n));
    if (client.answer.size() > kMaxAnswer) return Step::broken;
  }
}

// "HTTP/1.1 200 OK\r\n...\r\n\r\nBODY"
FilmOutcome outcome_of(const Client& client) {
  FilmOutcome outcome{client.film, 0, {}};
  const std::string_view answer = client.answer;
  const auto end = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.1 ") || end == std::string_view::npos) return outcome;
  const auto digits = answer.substr(9, 3);
  std::from_chars(digits.data(), digits.data() + digits.size(), outcome.status);
  outcome.body = answer.substr(end + 4);
  return outcome;
}

class Crowd {
 public:
  Crowd(const std::vector<Film>& films, const ClientPlan& plan, const Beat& beat)
      : films_(films), plan_(plan), beat_(beat), next_beat_(os::now() + beat.every) {}

  std::vector<FilmOutcome> run() {
    while (admit(), !clients_.empty()) {
      wait();
      const Instant now = os::now();
      if (now >= plan_.until) break;
      std::erase_if(clients_, [&](Client& client) { return has_ended(client, now); });
      if (now < next_beat_) continue;
      beat_.act();
      next_beat_ += beat_.every;
    }
    return std::move(outcomes_);
  }

 private:
  void admit() {
    while (clients_.size() < plan_.at_once && (plan_.most == 0 || begun_ < plan_.most)) {
      Client client;
      client.film = begun_++ % films_.size();
      client.leaves_at = os::now() + plan_.patience;
      client.head = request_head(films_[client.film], plan_);
      auto socket =
          os::start_connect(*os::parse_tcp_address("127.0.0.1:" + std::to_string(plan_.port)));
      if (socket)
        client.socket = std::move(*socket);
      else if (plan_.most != 0)
        outcomes_.push_back({client.film, 0, {}});
      if (!socket && plan_.most == 0) return;
      if (socket) clients_.push_back(std::move(client));
    }
  }

  void wait() {
    std::vector<pollfd> items;
    Instant wake = std::min(next_beat_, plan_.until);
    for (const auto& client : clients_) {
      const bool sending = client.sent < client.head.size() + films_[client.film].bytes.size();
      items.push_back(
          {client.socket.get(), static_cast<short>(sending ? POLLIN | POLLOUT : POLLIN), 0});
      wake = std::min(wake, client.leaves_at);
    }
    (void)::poll(items.data(), items.size(), os::poll_timeout(wake));
  }

  bool has_ended(Client& client, Instant now) {
    Step step = send_more(client, films_[client.film]);
    if (step == Step::goes_on) step = read_more(client);
    const bool left = step == Step::goes_on && now >= client.leaves_at;
    if (step == Step::goes_on && !left) return false;
    outcomes_.push_back(step == Step::answered ? outcome_of(client)
                                               : FilmOutcome{client.film, 0, {}});
    return true;
  }

  const std::vector<Film>& films_;
  const ClientPlan& plan_;
  const Beat& beat_;
  Instant next_beat_;
  std::vector<Client> clients_;
  std::vector<FilmOutcome> outcomes_;
  std::size_t begun_ = 0;
};

}  // namespace

Result<std::vector<Film>> read_films(const std::string& folder) {
  std::error_code code;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder, code)) {
    const auto ending = entry.path().extension();
    if (ending == ".png" || ending == ".jpg" || ending == ".dcm") paths.push_back(entry.path());
  }
  if (code) return fail(Error(code, "read the films of '" + folder + "'"));
  if (paths.empty())
    return fail(Errc::not_found, "find a film (png, jpg, dcm) in '" + folder + "'");
  std::ranges::sort(paths);
  std::vector<Film> films;
  for (const auto& path : paths) {
    auto bytes = os::read_file(path.string(), kMaxFilm);
    if (!bytes) return fail(std::move(bytes).error());
    films.push_back({path.filename().string(), std::move(*bytes)});
  }
  return films;
}

std::vector<FilmOutcome> send_films(const std::vector<Film>& films, const ClientPlan& plan,
                                    const Beat& beat) {
  return Crowd(films, plan, beat).run();
}

}  // namespace gpuward::cli
