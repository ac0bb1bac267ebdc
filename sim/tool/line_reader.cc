#include <algorithm>
#include <tuple>

#include "tool/options.h"
#include "tool/play.h"

namespace gpuward::gpusim::tool {
namespace {

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

bool has_command(const CLI::App& app, const std::string& name) {
  const auto all = app.get_subcommands([](const CLI::App*) { return true; });
  return std::any_of(all.begin(), all.end(),
                     [&](const CLI::App* known) { return known->get_name() == name; });
}

/// Puts numbers where words name processes. @return why not, or empty.
std::string put_pids(std::vector<std::string>& words, const Names& names) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string prefix = words[i].starts_with("--pid=@") ? "--pid=" : "";
    if (prefix.empty() && (i == 0 || words[i - 1] != "--pid")) continue;
    const std::string value = words[i].substr(prefix.size());
    if (!value.starts_with('@')) continue;
    const auto found = names.find(value.substr(1));
    if (found == names.end()) return "no process is called '" + value.substr(1) + "' so far";
    words[i] = prefix + std::to_string(found->second);
  }
  return {};
}

}  // namespace

struct LineReader::Parts {
  CLI::App app;
  FaultCommands faults;
  Start start;
  End end;
  bool starts = false;
  bool ends = false;
};

LineReader::LineReader(const std::string& kmsg) : parts_(std::make_unique<Parts>()) {
  Parts& parts = *parts_;
  parts.app.set_help_flag();
  parts.app.require_subcommand(1);
  parts.faults.add_to(&parts.app, kmsg);
  auto* start = parts.app.add_subcommand("process", "Processes that hold memory of a card");
  const auto is_good = [](const std::string& name) {
    return is_name(name) ? std::string()
                         : "'" + name + "' is no name: a-z, 0-9, - and _, 15 at most";
  };
  start->add_option("name", parts.start.name)->required()->check(is_good);
  start->add_option("--gpu", parts.start.hold.gpu)
      ->check(CLI::Range(0, static_cast<int>(kMaxDevices) - 1));
  add_size(start, "--memory", parts.start.hold.memory_bytes, "");
  start->add_option("--busy", parts.start.hold.busy_percent)->check(CLI::Range(0U, 100U));
  start->add_option("--count", parts.start.count)->check(CLI::Range(1U, kMaxPlayed));
  add_time(start, "--stay", parts.start.stay_ns, "");
  start->callback([&parts] {
    if (parts.start.stay_ns > kMaxIncidentNs) throw CLI::ValidationError("--stay", "1h at most");
    parts.starts = true;
  });
  auto* end = parts.app.add_subcommand("end", "Those processes end");
  end->add_option("name", parts.end.name)->required()->check(is_good);
  end->callback([&parts] { parts.ends = true; });
}

LineReader::~LineReader() = default;

Result<Deed> LineReader::read(std::vector<std::string> words, const Names& names) {
  Parts& parts = *parts_;
  parts.faults.reset();
  parts.start = {};
  parts.end = {};
  parts.starts = parts.ends = false;
  if (words.empty()) return fail(Errc::invalid, "read an empty line");
  if (const std::string why = put_pids(words, names); !why.empty()) {
    return fail(Errc::invalid, why);
  }
  // "phantom ..." is short for "fault phantom ...".
  CLI::App* faults = parts.app.get_subcommand("fault");
  if (has_command(*faults, words.front())) words.insert(words.begin(), "fault");
  if (!has_command(parts.app, words.front())) {
    return fail(Errc::invalid, "'" + words.front() +
                                   "' is neither fault, heal, kmsg, process or end, nor a fault");
  }
  if (words.front() == "fault" && words.size() > 1 && !has_command(*faults, words[1])) {
    return fail(Errc::invalid, "no fault is called '" + words[1] + "'");
  }
  std::reverse(words.begin(), words.end());  // as CLI11 wants them
  try {
    parts.app.parse(words);
  } catch (const CLI::ParseError& error) {
    return fail(Errc::invalid, one_line(error.what()));
  }
  if (parts.starts) return Deed(parts.start);
  if (parts.ends) return Deed(parts.end);
  if (!parts.faults.command.action) return fail(Errc::invalid, "nothing is asked for");
  return Deed(parts.faults.command);
}

void check_incident(Incident& incident, const Names& given, const std::string& kmsg) {
  LineReader reader(kmsg);
  Names names = given;
  unsigned started = 0;
  for (const Step& step : incident.steps) {
    const auto deed = reader.read(step.words, names);
    const auto complain = [&](std::string what) {
      incident.problems.push_back({step.line, std::move(what)});
    };
    if (!deed) {
      complain(std::string(deed.error().doing.view()));
    } else if (const auto* start = std::get_if<Start>(&*deed)) {
      started += start->count;
      if (started > kMaxPlayed) complain("more than " + std::to_string(kMaxPlayed) + " processes");
      if (!names.emplace(start->name, 1).second && !given.contains(start->name)) {
        complain("there is a process '" + start->name + "' already");
      }
    } else if (const auto* end = std::get_if<End>(&*deed)) {
      if (!names.contains(end->name)) complain("no process is called '" + end->name + "' so far");
      if (!given.contains(end->name)) names.erase(end->name);
    }
  }
  // Not stable_sort, which clang calls deprecated in libstdc++ 12.
  std::sort(incident.problems.begin(), incident.problems.end(),
            [](const Problem& a, const Problem& b) {
              return std::tie(a.line, a.what) < std::tie(b.line, b.what);
            });
}

}  // namespace gpuward::gpusim::tool
