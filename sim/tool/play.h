#pragma once

#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "tool/fault_commands.h"
#include "tool/incident.h"

/// Incidents: what their lines mean, and playing them.
namespace gpuward::gpusim::tool {

/// Processes that lines may name with @.
using Names = std::map<std::string, int>;

/// "process NAME ...": some processes that hold memory. They end with the incident.
struct Start {
  std::string name;
  Hold hold;
  unsigned count = 1;
  std::uint64_t stay_ns = 0;  ///< if not 0, they outlive it, for so long after their start
};
/// "end NAME": those end at once, as by kill -9.
struct End {
  std::string name;
};
using Deed = std::variant<Command, Start, End>;

/// Reads the words of steps with the same options as gpusim's own command line.
class LineReader {
 public:
  /// @param kmsg  where kernel lines go; may be empty
  explicit LineReader(const std::string& kmsg);
  ~LineReader();
  /// @return what the words ask for; the Error says what is wrong with them.
  Result<Deed> read(std::vector<std::string> words, const Names& names);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

inline constexpr unsigned kMaxPlayed = 64;  ///< processes of one incident

/// Adds what is wrong with the words of the steps, in the order of their lines.
/// @param given  names that the incident need not start itself
void check_incident(Incident& incident, const Names& given, const std::string& kmsg);

struct PlayOptions {
  std::string file;
  std::string kmsg;
  std::vector<std::string> names;  ///< "NAME=PID"
  bool check_only = false;
};
/// Plays the file; says on standard output what it does, and on standard error what is wrong with
/// it, line by line. SIGINT and SIGTERM end it at once; what was set until then stays set.
/// @return an exit code: 0 done, 1 failed, 2 the file is wrong, 128 + n after signal n
int play(Session& session, const std::string& state, const PlayOptions& options);

}  // namespace gpuward::gpusim::tool
