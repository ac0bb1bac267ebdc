#include "config/config.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "config/host_reader.h"
#include "config/keys.h"
#include "config/ledger_reader.h"
#include "config/links.h"
#include "config/reap_reader.h"
#include "config/report.h"
#include "config/service_reader.h"
#include "config/tree.h"

namespace gpuward::config {
namespace {

namespace fs = std::filesystem;

void take_service(const Entry& service, Report& report, const Resolver& resolver, Parsed& into) {
  if (service.value.kind != Kind::table) {
    const bool key = std::ranges::find(service_keys(), std::string_view(service.key), &Key::name) !=
                     service_keys().end();
    return report.add(service.place,
                      key ? in_quotes(service.key) + " stands outside of a service"
                          : "service " + in_quotes(service.key) + " is " +
                                std::string(kind_name(service.value.kind)),
                      key ? "it below [service.NAME]" : "a table: [service." + service.key + "]");
  }
  if (!is_service_name(service.key))
    report.add(service.place, "bad service name " + in_quotes(service.key),
               "1 to 64 of A-Z a-z 0-9 _ -, not beginning with '-'");
  Draft draft = read_service(service, report, resolver);
  into.origins[service.key] = std::move(draft.origin);
  const bool sound = draft.sound && is_service_name(service.key);
  (sound ? into.services : into.broken).push_back(std::move(draft.model));
}

void take_top_level(const Entry& entry, Report& report, const Resolver& resolver, Parsed& into) {
  const std::string expected = "[service.NAME], [reap], [ledger] or [host]";
  if (entry.key == "reap") {
    const std::size_t before = report.count_here();
    read_reap(entry, report, into.strangers);
    into.reap_problems = report.from(before);
    return;
  }
  if (entry.key == "ledger") {
    into.ledger_origin.emplace();
    return read_ledger(entry, report, *into.ledger_origin, into.ledger);
  }
  if (entry.key == "host") {
    into.host_origin.emplace();
    return read_host(entry, report, *into.host_origin, into.host);
  }
  if (entry.key != "service") {
    const bool table = entry.value.kind == Kind::table;
    const std::string what = (table ? "unknown table " : "unknown key ") + in_quotes(entry.key);
    constexpr std::array<std::string_view, 3> kTables = {"service", "ledger", "host"};
    const auto near = nearest(entry.key, kTables);
    if (!near.empty())
      report.add(entry.place, what + "; did you mean '" + std::string(near) + "'?");
    else
      report.add(entry.place, what + " at the top level", expected);
    return;
  }
  if (entry.value.kind != Kind::table)
    return report.add(entry.place, "'service' is " + std::string(kind_name(entry.value.kind)),
                      "one table for each service: [service.NAME]");
  for (const Entry& service : entry.value.entries) take_service(service, report, resolver, into);
}

// Things of the machine that only one service can have, and who asked for them first.
class Claims {
 public:
  explicit Claims(Parsed& parsed) : parsed_(parsed) {}

  void check() {
    std::vector<const ServiceModel*> all;
    all.reserve(parsed_.services.size() + parsed_.broken.size());
    for (const auto& service : parsed_.services) all.push_back(&service);
    for (const auto& service : parsed_.broken) all.push_back(&service);
    for (const ServiceModel* service : all) {
      if (!service->pid_file.empty()) claim("pid_file", service->pid_file, service->name);
      const std::string& address = service->ready.address;
      if (!address.empty() && address.find("{port}") == address.npos)
        claim(service->ready.kind == ReadyKind::http ? "ready.http" : "ready.tcp", address,
              service->name);
      if (service->door && !service->door->listen.empty())
        claim("listen", service->door->listen, service->name);
    }
    for (const std::string& name : losers_) mark_broken(parsed_, name);
  }

 private:
  void claim(const std::string& key, const std::string& value, const std::string& service) {
    const std::string thing =
        key.starts_with("ready") || key == "listen" ? "port:" + value : key + ":" + value;
    const Place& place = parsed_.origins[service].of(key);
    const auto [first, fresh] = owners_.try_emplace(thing, service, place);
    if (fresh) return;
    parsed_.problems.push_back(problem_at(place,
                                          "'" + key + "' names " + in_quotes(value) +
                                              " as service " + in_quotes(first->second.first) +
                                              " does at " + render(first->second.second),
                                          "one of its own"));
    losers_.push_back(service);
  }

  Parsed& parsed_;
  std::map<std::string, std::pair<std::string, Place>> owners_;
  std::vector<std::string> losers_;
};

Parsed parse_one(std::string_view text, std::string_view file_name, const Resolver& resolver) {
  Parsed parsed;
  Report report(file_name, text);
  if (text.size() > kLargestFile) {
    report.add(report.place(0, 0), "the file is larger than 1 MiB");
    parsed.partial = true;
  } else if (auto tree = read_toml(text, report); !tree) {
    parsed.problems.push_back(std::move(tree).error());
    parsed.partial = true;
    return parsed;
  } else {
    for (const Entry& entry : tree->entries) take_top_level(entry, report, resolver, parsed);
  }
  parsed.problems = report.release();
  return parsed;
}

// A table that all files together may have once.
template <class Policy>
void merge_once(const std::string& table, std::optional<Origin>& from_origin, Policy& from,
                std::optional<Origin>& into_origin, Policy& into, std::vector<Problem>& problems) {
  if (!from_origin) return;
  if (into_origin) {
    problems.push_back(problem_at(
        from_origin->name, "'" + table + "' is already defined at " + render(into_origin->name),
        "it once"));
    return;
  }
  into_origin = std::move(from_origin);
  into = std::move(from);
}

void merge(Parsed from, Parsed& into) {
  std::ranges::move(from.problems, std::back_inserter(into.problems));
  into.partial |= from.partial;
  const auto take = [&](std::vector<ServiceModel>& services, std::vector<ServiceModel>& list) {
    for (ServiceModel& service : services) {
      Origin& origin = from.origins[service.name];
      const auto known = into.origins.find(service.name);
      if (known != into.origins.end()) {
        into.problems.push_back(problem_at(origin.name,
                                           "service " + in_quotes(service.name) +
                                               " is already defined at " +
                                               render(known->second.name),
                                           "another name"));
        continue;
      }
      list.push_back(std::move(service));
    }
  };
  take(from.services, into.services);
  take(from.broken, into.broken);
  into.origins.merge(from.origins);
  std::ranges::move(from.strangers, std::back_inserter(into.strangers));
  std::ranges::move(from.reap_problems, std::back_inserter(into.reap_problems));
  merge_once("ledger", from.ledger_origin, from.ledger, into.ledger_origin, into.ledger,
             into.problems);
  merge_once("host", from.host_origin, from.host, into.host_origin, into.host, into.problems);
}

}  // namespace

void mark_broken(Parsed& parsed, std::string_view name) {
  const auto found = std::ranges::find(parsed.services, name, &ServiceModel::name);
  if (found == parsed.services.end()) return;
  parsed.broken.push_back(std::move(*found));
  parsed.services.erase(found);
}

std::string link_key(std::string_view key, std::string_view service) {
  return std::string(key) + "[" + std::string(service) + "]";
}

const Place& Origin::of(std::string_view key) const {
  const auto found = keys.find(key);
  return found == keys.end() ? name : found->second;
}

Parsed parse(std::string_view text, std::string_view file_name, const Resolver& resolver) {
  Parsed parsed = parse_one(text, file_name, resolver);
  Claims(parsed).check();
  check_links(parsed);
  const std::string file(file_name);
  sort_by_place(parsed.problems, {&file, 1});
  return parsed;
}

Parsed load_files(std::span<const fs::path> paths) {
  Parsed all;
  std::vector<std::string> files;  // as they are met: an env_file follows the file that names it
  for (const fs::path& path : paths) {
    files.push_back(path.string());
    auto text = read_text(path.string());
    if (!text) {
      all.problems.push_back(
          {path.string(), 0, 0, "cannot read: " + text.error().code.message(), {}, {}});
      all.partial = true;
      continue;
    }
    std::error_code code;
    const Resolver resolver{[](const std::string& name) { return read_text(name); },
                            fs::absolute(path, code).parent_path().string()};
    Parsed one = parse_one(*text, path.string(), resolver);
    for (const Problem& problem : one.problems) files.push_back(problem.file);
    merge(std::move(one), all);
  }
  Claims(all).check();
  check_links(all);
  sort_by_place(all.problems, files);
  return all;
}

Parsed load_folder(const fs::path& folder) {
  std::error_code code;
  std::vector<fs::path> paths;
  fs::directory_iterator files(folder, code);
  for (; !code && files != fs::directory_iterator(); files.increment(code)) {
    const fs::path& path = files->path();
    if (path.extension() == ".toml" && !path.filename().string().starts_with('.'))
      paths.push_back(path);
  }
  if (code) {
    Parsed failed;
    failed.problems.push_back(
        {folder.string(), 0, 0, "cannot read the folder: " + code.message(), {}, {}});
    return failed;
  }
  std::ranges::sort(paths);
  return load_files(paths);
}

Result<std::string> read_text(const std::string& path, std::size_t limit) {
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (code) return fail(Error(code, "read '" + path + "'"));
  if (fs::is_directory(status)) return fail(error_from(EISDIR, "read", path));
  if (!fs::is_regular_file(status)) return fail(error_from(EINVAL, "read", path));
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(error_from(errno != 0 ? errno : EIO, "open", path));
  std::string text(limit + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return fail(error_from(EIO, "read", path));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > limit) return fail(error_from(EFBIG, "read", path));
  text.shrink_to_fit();
  return text;
}

}  // namespace gpuward::config
