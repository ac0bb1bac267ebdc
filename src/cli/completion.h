#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

// Completion of the command line by the user's shell. The shell's part is a few lines that ask
// `gpuward __complete WORDS...`, so what it offers is always what this program understands.

namespace gpuward::cli {

/// `gpuward completion SHELL`: prints the script for bash or zsh, else the one for fish.
int completion(const std::string& shell);

/// Prints, one a line, what may stand in place of the last of @p words, the words after `gpuward`:
/// commands, options, names of services that the warden or an anchor knows. Prints nothing where
/// file names or somebody else's command line follow, or where it cannot know; always 0.
int complete(const CLI::App& app, const std::vector<std::string>& words);

}  // namespace gpuward::cli
