#include "cli/engine.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <boost/json.hpp>
#include <cerrno>

#include "control/container_plan.h"
#include "control/launch_plan.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/socket.h"

namespace gpuward::cli {
namespace {

namespace json = boost::json;

constexpr std::size_t kLongestAnswer = 256 << 10;

bool wait_for(const os::Fd& socket, short events, Instant deadline) {
  pollfd item{socket.get(), events, 0};
  return ::poll(&item, 1, os::poll_timeout(deadline)) == 1;
}

// The whole answer; empty when there is none in time or it is too long.
std::string ask(const std::string& path, std::string_view id, Instant deadline) {
  auto socket = os::start_connect_unix(path.c_str());
  if (!socket) return {};
  // As HTTP/1.0: then the answer comes in one piece and ends with the connection.
  std::string request = "GET /containers/" + std::string(id) + "/json HTTP/1.0\r\n\r\n";
  if (!wait_for(*socket, POLLOUT, deadline)) return {};
  if (::send(socket->get(), request.data(), request.size(), MSG_NOSIGNAL) != std::ssize(request))
    return {};
  std::string answer;
  std::array<char, 16 << 10> part;
  while (wait_for(*socket, POLLIN, deadline)) {
    const ssize_t n = ::recv(socket->get(), part.data(), part.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n == 0) return answer;
    if (n < 0) return {};
    answer.append(part.data(), static_cast<std::size_t>(n));
    if (answer.size() > kLongestAnswer) return {};
  }
  return {};
}

std::string text_at(const json::object* object, std::string_view key) {
  if (object == nullptr) return {};
  const auto* value = object->if_contains(key);
  const auto* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string{} : std::string(*text);
}

const json::object* object_at(const json::object* object, std::string_view key) {
  const auto* value = object == nullptr ? nullptr : object->if_contains(key);
  return value == nullptr ? nullptr : value->if_object();
}

std::optional<ContainerFacts> read_answer(std::string_view answer) {
  const auto body = answer.find("\r\n\r\n");
  const bool ok = answer.starts_with("HTTP/1.") && answer.substr(8, 4) == " 200";
  if (!ok || body == std::string_view::npos) return std::nullopt;
  boost::system::error_code trouble;
  const auto value = json::parse(answer.substr(body + 4), trouble);
  if (trouble || !value.is_object()) return std::nullopt;
  const auto* config = object_at(&value.get_object(), "Config");
  const auto* labels = object_at(config, "Labels");
  ContainerFacts facts;
  facts.image = text_at(config, "Image");
  facts.compose_project = text_at(labels, "com.docker.compose.project");
  if (facts.compose_project.empty())
    facts.compose_project = text_at(labels, "io.podman.compose.project");
  facts.compose_service = text_at(labels, "com.docker.compose.service");
  return facts;
}

}  // namespace

std::optional<ContainerFacts> ask_engines(std::string_view id, Instant deadline) {
  for (const auto& path : control::engine_sockets(control::own_environment()))
    if (auto facts = read_answer(ask(path, id, deadline))) return facts;
  return std::nullopt;
}

}  // namespace gpuward::cli
