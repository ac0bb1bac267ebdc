#include "config/machine_check.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "config/canary_reader.h"
#include "domain/container.h"

namespace gpuward::config {
namespace {

namespace fs = std::filesystem;

// With the effective ids: those are what a child will have.
int access_fault(const std::string& path, int mode) {
  return ::faccessat(AT_FDCWD, path.c_str(), mode, AT_EACCESS) == 0 ? 0 : errno;
}

bool is_folder(const std::string& path) {
  std::error_code code;
  return fs::is_directory(path, code);
}

std::string below(const std::string& folder, const std::string& path) {
  if (path.empty()) return folder;
  return path.starts_with('/') || folder.empty() ? path : folder + "/" + path;
}

std::string directory_of(const ServiceModel& service, const Surroundings& here) {
  return below(here.folder, service.directory);
}

// 0, or why exec of @p path would fail.
int exec_fault(const std::string& path) {
  if (const int fault = access_fault(path, F_OK); fault != 0) return fault;
  std::error_code code;
  if (!fs::is_regular_file(path, code)) return EACCES;
  return access_fault(path, X_OK);
}

class MachineCheck {
 public:
  MachineCheck(const ServiceModel& service, const Origin& origin, const Surroundings& here)
      : service_(service), origin_(origin), here_(here) {}

  std::vector<Problem> run() {
    directory();
    venv();
    env_file();
    program();
    container();
    pid_file();
    canary();
    return std::move(problems_);
  }

 private:
  void add(std::string_view key, std::string what, std::string expected = {}) {
    problems_.push_back(problem_at(origin_.of(key), std::move(what), std::move(expected)));
  }

  void directory() {
    if (service_.directory.empty()) return;
    const std::string path = directory_of(service_, here_);
    const std::string expected = "a folder at " + in_quotes(path);
    if (const int fault = access_fault(path, F_OK); fault == ENOENT)
      add("directory", "'directory' does not exist", expected);
    else if (fault == 0 && !is_folder(path))
      add("directory", "'directory' is not a folder", expected);
    else if (access_fault(path, R_OK | X_OK) != 0)
      add("directory", "'directory' cannot be read and entered", expected);
    else
      return;
    directory_bad_ = true;
  }

  void venv() {
    if (service_.venv.empty()) return;
    const std::string bin = below(here_.folder, service_.venv) + "/bin/";
    if (access_fault(bin + "python", X_OK) == 0 || access_fault(bin + "activate", R_OK) == 0)
      return;
    add("venv", "'venv' has neither bin/python nor bin/activate",
        "the prefix of a conda or venv environment");
  }

  void env_file() {
    if (service_.env_file.empty()) return;
    if (auto text = read_text(below(here_.folder, service_.env_file)); !text)
      add("env_file", "cannot read 'env_file': " + text.error().code.message(),
          "a readable file at " + in_quotes(service_.env_file));
  }

  void program() {
    if (service_.command.empty() || service_.command.front().empty()) return;
    const std::string& word = service_.command.front();
    const bool by_path = word.find('/') != std::string::npos;
    if (word.find("{port}") != std::string::npos) return;
    if (by_path && !word.starts_with('/') && directory_bad_) return;
    const auto found = find_program(service_, here_);
    if (found) return;
    const std::string key = "command[0]";
    if (found.error().code.value() == EACCES)
      return add(key, "program " + in_quotes(word) + " is not executable", "an executable file");
    std::string expected = "a program in ";
    if (by_path)
      expected = "a file at " + in_quotes(below(directory_of(service_, here_), word));
    else
      expected += service_.venv.empty() ? "PATH" : "bin/ of 'venv' or in PATH";
    if (word.find(' ') != std::string::npos) expected += "; each word is an item of its own";
    add(key, "program " + in_quotes(word) + " is not found", expected);
  }

  void container() {
    const auto command = read_container_command(service_.command);
    if (command.detached)
      add("command", "'" + command.engine + " run' in the background: its container ends with it",
          "the foreground form, without -d");
  }

  void pid_file() {
    if (service_.pid_file.empty()) return;
    const std::string path = below(here_.folder, service_.pid_file);
    const std::string folder = fs::path(path).parent_path().string();
    if (is_folder(path))
      add("pid_file", "'pid_file' is a folder", "the name of a file");
    else if (!is_folder(folder))
      add("pid_file", "the folder of 'pid_file' does not exist",
          "a folder at " + in_quotes(folder));
    else if (access_fault(folder, W_OK | X_OK) != 0)
      add("pid_file", "the folder of 'pid_file' cannot be written", "a folder of your own");
  }

  void canary() {
    if (!service_.canary) return;
    const auto files = read_canary_files(*service_.canary, here_.folder);
    for (const auto* list : {&files.faults, &files.slips})
      for (const auto& fault : *list) add(fault.key, fault.what, fault.expected);
  }

  const ServiceModel& service_;
  const Origin& origin_;
  const Surroundings& here_;
  std::vector<Problem> problems_;
  bool directory_bad_ = false;
};

}  // namespace

Surroundings Surroundings::current() {
  const char* path = std::getenv("PATH");
  std::error_code code;
  return {path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin", fs::current_path(code).string()};
}

Result<std::string> find_program(const ServiceModel& service, const Surroundings& here) {
  const std::string word = service.command.empty() ? "" : service.command.front();
  const std::string directory = directory_of(service, here);
  if (word.find('/') != std::string::npos) {
    std::string path = below(directory, word);
    if (const int fault = exec_fault(path); fault != 0)
      return fail(error_from(fault, "execute", path));
    return path;
  }
  std::string list = here.path;
  const auto own = std::ranges::find(service.env, "PATH", &EnvVar::name);
  if (own != service.env.end()) list = own->value;
  if (!service.venv.empty()) list = below(here.folder, service.venv) + "/bin:" + list;
  int fault = ENOENT;
  for (std::size_t at = 0; !word.empty() && at <= list.size();) {
    const std::size_t end = std::min(list.find(':', at), list.size());
    std::string path = below(below(directory, list.substr(at, end - at)), word);
    const int why = exec_fault(path);
    if (why == 0) return path;
    if (why == EACCES) fault = EACCES;
    at = end + 1;
  }
  return fail(error_from(fault, "find program", word));
}

std::vector<Problem> check_machine(const ServiceModel& service, const Origin& origin,
                                   const Surroundings& here) {
  auto problems = MachineCheck(service, origin, here).run();
  sort_by_place(problems);
  return problems;
}

std::vector<Problem> check_machine(const Parsed& parsed, const Surroundings& here) {
  std::vector<Problem> all;
  const auto take = [&](const ServiceModel& service) {
    const auto origin = parsed.origins.find(service.name);
    if (origin == parsed.origins.end()) return;
    for (Problem& problem : check_machine(service, origin->second, here))
      if (std::ranges::find(parsed.problems, problem) == parsed.problems.end())
        all.push_back(std::move(problem));
  };
  for (const ServiceModel& service : parsed.services) take(service);
  for (const ServiceModel& service : parsed.broken) take(service);
  sort_by_place(all);
  return all;
}

}  // namespace gpuward::config
