#include "os/port_owner.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>

#include "os/fd.h"
#include "os/listeners.h"
#include "os/proc_fs.h"

namespace gpuward::os {
namespace {

constexpr std::string_view kListening = "0A";  // TCP_LISTEN

std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const auto end = std::min(line.find(' '), line.size());
  const auto word = line.substr(0, end);
  line.remove_prefix(end);
  return word;
}

template <class Number>
bool parse(std::string_view digits, int base, Number& into) {
  const auto [end, code] =
      std::from_chars(digits.data(), digits.data() + digits.size(), into, base);
  return code == std::errc{} && end == digits.data() + digits.size();
}

// Words of 32 bits, each as this machine reads the bytes of the network.
bool parse_host(std::string_view digits, std::array<std::uint8_t, 16>& host) {
  for (std::size_t at = 0; at * 8 < digits.size(); ++at) {
    std::uint32_t word = 0;
    if (at >= 4 || !parse(digits.substr(at * 8, 8), 16, word)) return false;
    std::memcpy(host.data() + at * 4, &word, 4);
  }
  return true;
}

// "::ffff:127.0.0.1" is an address of v4.
bool is_mapped(const std::array<std::uint8_t, 16>& host) {
  static constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255};
  return std::equal(kMapped.begin(), kMapped.end(), host.begin());
}

ListeningAt as_v4(ListeningAt at) {
  if (!at.v6 || !is_mapped(at.host)) return at;
  std::array<std::uint8_t, 16> host{};
  std::copy_n(at.host.begin() + 12, 4, host.begin());
  return {at.inode, false, host};
}

ListeningAt host_of(const TcpAddress& address) {
  ListeningAt at;
  at.v6 = address.storage.ss_family == AF_INET6;
  if (at.v6) {
    const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
    std::memcpy(at.host.data(), &in6->sin6_addr, 16);
  } else {
    const auto* in4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    std::memcpy(at.host.data(), &in4->sin_addr, 4);
  }
  return as_v4(at);
}

}  // namespace

std::vector<ListeningAt> parse_listening(std::string_view text, bool v6, std::uint16_t port) {
  std::vector<ListeningAt> found;
  text.remove_prefix(std::min(text.find('\n'), text.size()));  // the head
  while (!text.empty()) {
    text.remove_prefix(1);
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end);
    (void)take_word(line);  // "0:"
    const auto local = take_word(line);
    (void)take_word(line);  // remote
    const auto state = take_word(line);
    for (int skipped = 0; skipped < 5; ++skipped) (void)take_word(line);
    const auto colon = local.find(':');
    ListeningAt at;
    at.v6 = v6;
    std::uint16_t its_port = 0;
    if (state != kListening || colon == local.npos) continue;
    if (!parse(local.substr(colon + 1), 16, its_port) || its_port != port) continue;
    if (!parse_host(local.substr(0, colon), at.host) || !parse(take_word(line), 10, at.inode))
      continue;
    if (at.inode != 0) found.push_back(at);
  }
  return found;
}

std::vector<std::uint64_t> in_the_way(const TcpAddress& wanted,
                                      const std::vector<ListeningAt>& all) {
  const ListeningAt want = host_of(wanted);
  std::vector<std::uint64_t> same;
  std::vector<std::uint64_t> both;  // a wildcard of v6 may be for v4 too, and the other way round
  for (const auto& listed : all) {
    const ListeningAt at = as_v4(listed);
    if (at.v6 == want.v6 && (at.any_host() || want.any_host() || at.host == want.host))
      same.push_back(at.inode);
    else if (at.v6 != want.v6 && (at.v6 ? at : want).any_host())
      both.push_back(at.inode);
  }
  return same.empty() ? both : same;
}

std::vector<std::uint64_t> sockets_in_the_way(const TcpAddress& wanted) {
  std::vector<ListeningAt> all;
  for (const bool v6 : {false, true}) {
    const auto text =
        read_file(v6 ? "/proc/self/net/tcp6" : "/proc/self/net/tcp", std::size_t{64} << 20);
    if (!text) continue;
    std::ranges::copy(parse_listening(*text, v6, wanted.port()), std::back_inserter(all));
  }
  return in_the_way(wanted, all);
}

std::vector<Pid> holders_of(const std::vector<std::uint64_t>& sockets) {
  std::vector<Pid> found;
  (void)for_each_process([&](Pid pid) {
    bool holds = false;
    (void)for_each_socket(pid, [&](std::uint64_t inode) {
      holds |= std::ranges::find(sockets, inode) != sockets.end();
    });
    if (holds) found.push_back(pid);
  });
  return found;
}

}  // namespace gpuward::os
