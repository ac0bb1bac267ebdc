#include "domain/container.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

namespace gpuward {
namespace {

using Words = std::vector<std::string>;

template <std::size_t N>
using Names = std::array<std::string_view, N>;

// Options that take no value; all others take one (docker 27, podman 5, nerdctl 2: their manuals).
constexpr Names<12> kBareGlobals = {
    "--debug",  "--tls",   "--tlsverify", "--version",    "--help",         "--remote",
    "--syslog", "--trace", "--noout",     "--debug-full", "--experimental", "--insecure-registry"};
constexpr Names<28> kBareOptions = {"--detach",
                                    "--disable-content-trust",
                                    "--env-host",
                                    "--help",
                                    "--http-proxy",
                                    "--init",
                                    "--interactive",
                                    "--no-healthcheck",
                                    "--no-hostname",
                                    "--no-hosts",
                                    "--oom-kill-disable",
                                    "--passwd",
                                    "--privileged",
                                    "--publish-all",
                                    "--quiet",
                                    "--read-only",
                                    "--read-only-tmpfs",
                                    "--replace",
                                    "--rm",
                                    "--rmi",
                                    "--rootfs",
                                    "--sig-proxy",
                                    "--tls-verify",
                                    "--tty",
                                    "--unsetenv-all",
                                    "--use-api-socket",
                                    "--no-trunc",
                                    "--stop-on-exit"};
constexpr std::string_view kBareLetters = "ditPq";
constexpr std::string_view kBareGlobalLetters = "Dvr";
constexpr Names<3> kEngines = {"docker", "podman", "nerdctl"};
constexpr Names<3> kComposers = {"docker-compose", "podman-compose", "nerdctl-compose"};
constexpr Names<4> kBeforeIt = {"env", "nohup", "setsid", "exec"};

bool among(std::string_view word, std::span<const std::string_view> names) {
  return std::ranges::find(names, word) != names.end();
}

std::string_view base_name(std::string_view word) {
  return word.substr(word.rfind('/') + 1);
}

// One option at @p at, with its value.
struct Option {
  std::string_view name;  // "--cidfile", "-d"
  std::optional<std::string_view> value;
  std::size_t next = 0;  // the word after it
};

// Of a cluster like -dit the last letter names the option: only that one may take a value.
Option read_option(const Words& words, std::size_t at, std::span<const std::string_view> bare,
                   std::string_view bare_letters) {
  const std::string_view word = words[at];
  const auto valued = [&](std::string_view name) {
    if (at + 1 >= words.size()) return Option{name, {}, at + 1};
    return Option{name, std::string_view(words[at + 1]), at + 2};
  };
  if (word.starts_with("--")) {
    const auto equals = word.find('=');
    if (equals != std::string_view::npos)
      return {word.substr(0, equals), word.substr(equals + 1), at + 1};
    if (among(word, bare)) return {word, {}, at + 1};
    return valued(word);
  }
  for (std::size_t letter = 1; letter < word.size(); ++letter) {
    if (bare_letters.find(word[letter]) != std::string_view::npos) continue;
    if (letter + 1 == word.size()) return valued(word);
    return {word, word.substr(letter + 1), at + 1};
  }
  return {word, {}, at + 1};
}

bool is_option(std::string_view word) {
  return word.size() > 1 && word.front() == '-' && word != "--";
}

// Does @p word hold the letter, as "-d" or "-dit" does, before one that takes a value?
bool has_letter(std::string_view word, char wanted) {
  if (word.starts_with("--")) return false;
  for (const char letter : word.substr(1)) {
    if (letter == wanted) return true;
    if (kBareLetters.find(letter) == std::string_view::npos) return false;
  }
  return false;
}

bool says_true(const std::optional<std::string_view>& value) {
  return !value || (*value != "false" && *value != "0" && *value != "f" && *value != "F");
}

// Where the engine's client stands in a command that others may begin; its size: nowhere.
std::size_t find_client(const Words& words, ContainerCommand& found) {
  std::size_t at = 0;
  while (at < words.size()) {
    const auto name = base_name(words[at]);
    if (among(name, kEngines) || among(name, kComposers)) return at;
    if (name == "sudo") {
      ++at;
      while (at < words.size() && (words[at] == "-n" || words[at] == "-E")) ++at;
    } else if (name == "nice") {
      ++at;
      if (at + 1 < words.size() && words[at] == "-n") at += 2;
    } else if (among(name, kBeforeIt)) {
      ++at;
    } else if (at > 0 && words[at].find('=') != std::string::npos && words[at].front() != '-') {
      if (words[at].starts_with("DOCKER_HOST=")) found.host = words[at].substr(12);
      ++at;  // NAME=VALUE of env or sudo
    } else {
      return words.size();
    }
  }
  return at;
}

// An engine's client among the words of a shell's line, or behind what is not known here.
std::string_view client_within(const Words& words) {
  constexpr std::string_view kBetween = " \t\n;&|()'\"`";
  std::string_view before;
  for (std::size_t at = 1; at < words.size(); ++at) {
    std::string_view rest = words[at];
    while (!rest.empty()) {
      const auto end = std::min(rest.find_first_of(kBetween), rest.size());
      const auto token = base_name(rest.substr(0, end));
      if (among(token, kComposers)) return token;
      constexpr Names<5> kStarts = {"run", "start", "compose", "container", "exec"};
      if (among(before, kEngines) && among(token, kStarts)) return before;
      if (!token.empty()) before = token;
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  return {};
}

void read_globals(const Words& words, std::size_t& at, ContainerCommand& found) {
  while (at < words.size() && is_option(words[at])) {
    const auto option = read_option(words, at, kBareGlobals, kBareGlobalLetters);
    if (option.name == "-H" || option.name.starts_with("-H") || option.name == "--host" ||
        option.name == "--url")
      found.host = std::string(option.value.value_or(""));
    const bool names_another = option.name == "--context" || option.name == "--connection" ||
                               option.name.starts_with("-c") || option.name == "--identity" ||
                               option.name == "--address" || option.name.starts_with("-a");
    const bool remote = option.name == "--remote" || option.name == "-r";
    found.elsewhere |= names_another || (remote && says_true(option.value));
    at = option.next;
  }
}

void read_options(const Words& words, ContainerCommand& found) {
  std::size_t at = found.options;
  while (at < words.size() && is_option(words[at])) {
    const auto option = read_option(words, at, kBareOptions, kBareLetters);
    if (option.name == "--cidfile" && option.value) found.cidfile = std::string(*option.value);
    if (option.name == "--detach") found.detached = says_true(option.value);
    if (has_letter(words[at], 'd')) found.detached = true;
    at = option.next;
  }
}

}  // namespace

std::string short_id(std::string_view id) {
  return std::string(id.substr(0, 12));
}

bool is_container_id(std::string_view text) {
  const auto hexadecimal = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return text.size() == 64 && std::ranges::all_of(text, hexadecimal);
}

std::string_view to_string(ContainerProof proof) {
  switch (proof) {
    case ContainerProof::not_judged:
      break;
    case ContainerProof::none:
      return "none";
    case ContainerProof::empty:
      return "empty";
    case ContainerProof::ended:
      return "ended";
    case ContainerProof::left:
      return "left";
    case ContainerProof::unseen:
      return "unseen";
    case ContainerProof::unnamed:
      return "unnamed";
  }
  return "not_judged";
}

std::string_view why_not_proven(ContainerProof proof) {
  switch (proof) {
    case ContainerProof::none:
    case ContainerProof::empty:
    case ContainerProof::ended:
      break;
    case ContainerProof::not_judged:
      return "its anchor did not look after its container";
    case ContainerProof::left:
      return "processes of its container are left";
    case ContainerProof::unseen:
      return "nothing of its container was ever seen on this machine, and no engine told of its "
             "end: it may run elsewhere";
    case ContainerProof::unnamed:
      return "its client ended without leaving the id of its container";
  }
  return {};
}

ContainerCommand read_container_command(const std::vector<std::string>& command) {
  ContainerCommand found;
  std::size_t at = find_client(command, found);
  if (at >= command.size()) {
    const auto within = client_within(command);
    if (within.empty()) return found;
    found.engine = std::string(within);
    found.why = "'" + found.engine +
                "' is called from within another command, which can start any "
                "number of containers: write 'docker run ...' into 'command' itself";
    return found;
  }
  found.engine = std::string(base_name(command[at]));
  if (among(found.engine, kComposers)) {
    found.why = "'" + found.engine + "' starts containers that it does not name";
    return found;
  }
  read_globals(command, ++at, found);
  std::string verb = at < command.size() ? command[at++] : "";
  if (verb == "container" && at < command.size()) verb = command[at++];
  if (verb != "run") {
    found.why = "its command starts containers, which live outside its tree";
    if (!verb.empty())
      found.why = "'" + found.engine + " " + verb +
                  "' leaves no id of what it starts: only 'run' can be held";
    return found;
  }
  found.runs_one = true;
  found.options = at;
  read_options(command, found);
  return found;
}

}  // namespace gpuward
