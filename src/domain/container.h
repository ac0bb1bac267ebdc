#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"

// A service whose command is the client of a container engine: what it starts lives outside its
// tree (harm.md 17). Docker, podman and nerdctl write the id of a container that they `run` into a
// file of one's choice (--cidfile), after it was made and before its first process is started: by
// that id its processes are found, asked for and proven gone.

namespace gpuward {

/// The whole id, 64 hexadecimal digits.
using ContainerId = Text<64>;
/// As people and engines shorten it: the first 12.
std::string short_id(std::string_view id);
/// Is @p text such an id, and nothing else?
bool is_container_id(std::string_view text);

enum class ContainerHold : std::uint8_t {
  none = 0,       ///< the command starts no container, as far as can be told
  by_id = 1,      ///< its container is known by its id
  not_by_id = 2,  ///< it starts some that nobody names: a stop is never proven
};

/// What an anchor is told about its service's container, resolved by whoever starts it.
struct ContainerPlan {
  ContainerHold hold = ContainerHold::none;
  std::string cidfile;               ///< absolute; where the client writes the id
  bool cidfile_is_ours = false;      ///< put into the command by us
  std::vector<std::string> sockets;  ///< of engines, absolute, the client's own first
  bool engine_known = false;         ///< the first socket is the one that the client speaks to
  bool only_here = false;            ///< it has no engine that might run it on another machine
  std::string why;                   ///< for not_by_id: the rest of a sentence
};

/// What an anchor knows of the container of this generation.
struct ContainerTrace {
  ContainerId id;        ///< empty: none, or not known yet
  bool awaited = false;  ///< its file did not exist when main was started: what it holds is ours
  bool seen = false;     ///< a process of it was seen on this machine
  Text<512> cgroup;      ///< its cgroup2 group, absolute; empty: not known, or of another hierarchy
};

/// What is known of a container at the end of its tree.
enum class ContainerProof : std::uint8_t {
  not_judged = 0,  ///< nobody looked
  none = 1,        ///< none was started
  empty = 2,       ///< no process of it is left here, where it was seen or can only be
  ended = 3,       ///< nothing of it was ever seen here; its engine says that it does not run
  left = 4,        ///< it runs still
  unseen = 5,      ///< nothing of it was ever seen here, and its engine says nothing
  unnamed = 6,     ///< its client ended well and left no id
};
/// "empty": a contract of the JSON output.
std::string_view to_string(ContainerProof proof);
/// What lacks, as the rest of a sentence; empty for those that prove an end.
std::string_view why_not_proven(ContainerProof proof);

/// What the words of a command say about containers.
struct ContainerCommand {
  std::string engine;                  ///< "docker", "podman", "nerdctl"; empty: it starts none
  bool runs_one = false;               ///< `run`, in a form whose container can be held by its id
  std::size_t options = 0;             ///< where the options of `run` begin: the word after it
  std::optional<std::string> cidfile;  ///< the user's own
  bool detached = false;               ///< it does not stay in front
  std::string host;                    ///< of -H, --host or DOCKER_HOST=; empty: not said
  bool elsewhere = false;              ///< a context or connection is named, or --remote
  std::string why;                     ///< for !runs_one: the rest of a sentence
};
/// Knows the client behind env, nice, nohup, setsid and plain sudo, and a line of a shell that has
/// one in it. A script that starts containers cannot be told.
ContainerCommand read_container_command(const std::vector<std::string>& command);

}  // namespace gpuward
