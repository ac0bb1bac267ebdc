#include "os/connections.h"

#include <algorithm>
#include <charconv>

#include "os/fd.h"

namespace gpuward::os {
namespace {

constexpr std::string_view kEstablished = "01";  // TCP_ESTABLISHED, net/tcp_states.h
constexpr std::size_t kLargestList = std::size_t{64} << 20;

std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const auto word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  return word;
}

template <class Number>
bool parse(std::string_view text, int base, Number& into) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), into, base);
  return code == std::errc{} && end == text.data() + text.size();
}

// "0100007F:1F90" is an address and a port.
bool parse_end(std::string_view text, std::string_view& host, std::uint16_t& port) {
  const auto colon = text.find(':');
  if (colon == text.npos) return false;
  host = text.substr(0, colon);
  return parse(text.substr(colon + 1), 16, port);
}

bool parse_line(std::string_view line, Connection& into) {
  (void)take_word(line);  // "0:"
  std::string_view host;
  std::string_view peer;
  if (!parse_end(take_word(line), host, into.port)) return false;
  if (!parse_end(take_word(line), peer, into.peer_port)) return false;
  if (take_word(line) != kEstablished || peer.size() > into.peer.size()) return false;
  std::ranges::copy(peer, into.peer.begin());
  for (int skipped = 0; skipped < 5; ++skipped) (void)take_word(line);
  return parse(take_word(line), 10, into.inode);
}

}  // namespace

void parse_connections(std::string_view text, std::size_t most,
                       std::map<std::uint16_t, Connections>& into) {
  text.remove_prefix(std::min(text.find('\n'), text.size()));  // the head
  while (!text.empty()) {
    text.remove_prefix(1);
    const auto end = std::min(text.find('\n'), text.size());
    Connection one;
    const bool good = parse_line(text.substr(0, end), one);
    text.remove_prefix(end);
    const auto at = good ? into.find(one.port) : into.end();
    if (at == into.end()) continue;
    Connections& known = at->second;
    if (known.list.size() == most)
      known.full = true;
    else
      known.list.push_back(one);
  }
}

Result<std::map<std::uint16_t, Connections>> connections_at(const std::set<std::uint16_t>& ports,
                                                            std::size_t most) {
  std::map<std::uint16_t, Connections> found;
  if (ports.empty()) return found;
  for (const auto port : ports) found.try_emplace(port);
  auto v4 = read_file("/proc/self/net/tcp", kLargestList);
  if (!v4) return fail(std::move(v4).error());
  parse_connections(*v4, most, found);
  // Absent where IPv6 is off.
  if (const auto v6 = read_file("/proc/self/net/tcp6", kLargestList))
    parse_connections(*v6, most, found);
  for (auto& [port, connections] : found) std::ranges::sort(connections.list);
  return found;
}

}  // namespace gpuward::os
