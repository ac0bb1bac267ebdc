#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/problem.h"
#include "domain/event.h"
#include "domain/host.h"
#include "domain/service.h"
#include "domain/stranger_rule.h"

/// TOML to the service model. Parsing, then checking, then applying: parse() and check_machine()
/// are the first two, `gpuward check` runs exactly these. Problems are values; no exception leaves
/// here.
namespace gpuward::config {

/// In Origin::keys, where a list of other services names @p service: "after[db]".
std::string link_key(std::string_view key, std::string_view service);

/// What parsing needs from outside: files it is pointed to, and where relative paths begin.
struct Resolver {
  /// Reads a whole file, for env_file.
  std::function<Result<std::string>(const std::string& path)> read;
  /// The folder of the configuration file; empty leaves relative paths as they are.
  std::string folder;
};

/// Where a service was written: its name, and each key by its full name ("ready.http").
struct Origin {
  Place name;
  std::map<std::string, Place, std::less<>> keys;

  /// The place of @p key, or of the name when the key was not written.
  const Place& of(std::string_view key) const;
};

struct Parsed {
  /// Services without any problem, in the order they were written.
  std::vector<ServiceModel> services;
  /// Services with problems, as far as they could be read: for check_machine() only, never to be
  /// started. A service that came second under its name is in neither list.
  std::vector<ServiceModel> broken;
  /// The table [ledger], and where it stands when a file has one.
  LedgerPolicy ledger;
  std::optional<Origin> ledger_origin;
  /// The table [host], likewise.
  HostPolicy host;
  std::optional<Origin> host_origin;
  /// Of the table [reap]: which strangers `gpuward reap` may end. Of all files together.
  std::vector<StrangerRule> strangers;
  std::vector<Problem> reap_problems;  ///< of that table; they stand in `problems` too
  /// Every problem, sorted by place; those of an env_file follow the file that names it.
  std::vector<Problem> problems;
  /// A file could not be read or has a syntax error: there may be more services.
  bool partial = false;
  /// By service name, for both lists.
  std::map<std::string, Origin, std::less<>> origins;
};

/// @param file_name  as it should appear in messages.
Parsed parse(std::string_view text, std::string_view file_name, const Resolver& resolver);

/// Reads and parses @p paths as one configuration: names, pid_files and fixed ports must differ
/// across all of them. A file that cannot be read is a problem, the others are still parsed.
Parsed load_files(std::span<const std::filesystem::path> paths);

/// load_files() of all *.toml in @p folder in name order; hidden files are left out.
Parsed load_folder(const std::filesystem::path& folder);

/// The largest file of text that is read.
inline constexpr std::size_t kLargestFile = std::size_t{1} << 20;

/// Reads a regular file of at most @p limit bytes. Errors: as open(2) and read(2), EISDIR, EFBIG.
Result<std::string> read_text(const std::string& path, std::size_t limit = kLargestFile);

}  // namespace gpuward::config
