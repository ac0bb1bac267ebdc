#include "cli/completion.h"

#include <algorithm>
#include <cstdio>

#include "cli/look_commands.h"
#include "control/home.h"

namespace gpuward::cli {
namespace {

// The word before the cursor may be empty: it must reach __complete all the same.
constexpr const char* kBash = R"(_gpuward() {
  local IFS=$'\n'
  COMPREPLY=($("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -o bashdefault -F _gpuward gpuward
)";

constexpr const char* kZsh = R"zsh(#compdef gpuward
_gpuward() {
  local -a found
  found=(${(f)"$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
  if (( $#found )); then compadd -- $found; else _files; fi
}
compdef _gpuward gpuward
)zsh";

constexpr const char* kFish = R"fish(function __gpuward
  set -l words (commandline -opc) (commandline -ct)
  $words[1] __complete $words[2..] 2>/dev/null
end
complete -c gpuward -a '(__gpuward)'
)fish";

class Offers {
 public:
  explicit Offers(std::string begun) : begun_(std::move(begun)) {}
  void add(const std::string& word) {
    if (word.starts_with(begun_)) words_.push_back(word);
  }
  bool wants_option() const { return begun_.starts_with('-'); }
  void print() {
    std::ranges::sort(words_);
    for (const auto& word : words_) std::printf("%s\n", word.c_str());
  }

 private:
  std::string begun_;
  std::vector<std::string> words_;
};

std::vector<const CLI::App*> commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

void offer_options(const CLI::App& command, Offers& offers) {
  for (const auto* option : command.get_options())
    for (const auto& name : option->get_lnames()) offers.add("--" + name);
}

void offer_services(Offers& offers) {
  const auto home = control::find_home();
  if (!home) return;
  const auto report = look(*home, {}, true);
  if (!report) return;
  for (const auto& service : report->services) offers.add(service.name);
}

}  // namespace

int completion(const std::string& shell) {
  std::fputs(shell == "bash" ? kBash : shell == "zsh" ? kZsh : kFish, stdout);
  return 0;
}

int complete(const CLI::App& app, const std::vector<std::string>& words) {
  if (words.empty()) return 0;
  Offers offers(words.back());
  if (words.size() == 1) {
    for (const auto* command : commands(app)) offers.add(command->get_name());
    if (offers.wants_option()) offer_options(app, offers);
  }
  for (const auto* command : commands(app)) {
    // What follows "--" is a command line of its own.
    const bool others = std::find(words.begin(), words.end() - 1, "--") != words.end() - 1;
    if (words.size() == 1 || others || command->get_name() != words.front()) continue;
    if (offers.wants_option())
      offer_options(*command, offers);
    else if (command->get_option_no_throw("service") != nullptr)
      offer_services(offers);
    else if (command->get_option_no_throw("shell") != nullptr)
      for (const char* shell : {"bash", "zsh", "fish"}) offers.add(shell);
  }
  offers.print();
  return 0;
}

}  // namespace gpuward::cli
