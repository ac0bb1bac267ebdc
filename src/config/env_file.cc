#include "config/env_file.h"

#include <algorithm>
#include <expected>
#include <string>
#include <unordered_map>

#include "config/report.h"

namespace gpuward::config {
namespace {

constexpr std::string_view kBlank = " \t";

struct Fault {
  std::size_t at;  // bytes from the start of the line
  std::string what;
  std::string expected;
};

std::size_t skip_blanks(std::string_view line, std::size_t at) {
  return std::min(line.find_first_not_of(kBlank, at), line.size());
}

// The value in quotes that begins at @p at; afterwards @p at is behind the closing quote.
std::expected<std::string, Fault> quoted_value(std::string_view line, std::size_t& at) {
  const std::size_t open = at;
  const char quote = line[at++];
  std::string value;
  for (; at < line.size(); ++at) {
    if (line[at] == quote) {
      ++at;
      return value;
    }
    if (line[at] != '\\' || quote == '\'') {
      value += line[at];
      continue;
    }
    static constexpr std::string_view kEscapes = "nt\"\\$";
    static constexpr std::string_view kMeant = "\n\t\"\\$";
    const std::size_t which =
        at + 1 < line.size() ? kEscapes.find(line[at + 1]) : std::string_view::npos;
    if (which == std::string_view::npos)
      return std::unexpected(
          Fault{at, "unknown escape in a value", R"(\n, \t, \", \\ or \$; or '...' instead)"});
    value += kMeant[which];
    ++at;
  }
  return std::unexpected(
      Fault{open, "the quote is not closed on this line", std::string("a closing ") + quote});
}

std::expected<std::string, Fault> value_from(std::string_view line, std::size_t at) {
  at = skip_blanks(line, at);
  if (at < line.size() && (line[at] == '"' || line[at] == '\'')) {
    auto value = quoted_value(line, at);
    if (!value) return value;
    at = skip_blanks(line, at);
    if (at < line.size() && line[at] != '#')
      return std::unexpected(
          Fault{at, "text after the closing quote", "the end of the line or a #comment"});
    return value;
  }
  std::size_t end = at;
  while (end < line.size() &&
         (line[end] != '#' || (end > at && kBlank.find(line[end - 1]) == std::string_view::npos)))
    ++end;
  std::string_view value = line.substr(at, end - at);
  while (!value.empty() && kBlank.find(value.back()) != std::string_view::npos)
    value.remove_suffix(1);
  return std::string(value);
}

std::expected<EnvVar, Fault> variable_from(std::string_view line, std::size_t at) {
  if (line.substr(at).starts_with("export ")) at = skip_blanks(line, at + 7);
  const std::size_t equals = line.find('=', at);
  if (equals == std::string_view::npos)
    return std::unexpected(Fault{at, "no '=' on this line", "NAME=VALUE"});
  std::string_view name = line.substr(at, equals - at);
  while (!name.empty() && kBlank.find(name.back()) != std::string_view::npos) name.remove_suffix(1);
  if (const auto fault = env_name_fault(name); !fault.empty())
    return std::unexpected(Fault{at, std::string(fault), "NAME=VALUE"});
  if (name.find_first_of(" \t'\"#") != std::string_view::npos)
    return std::unexpected(Fault{at, "bad variable name " + in_quotes(name), "NAME=VALUE"});
  auto value = value_from(line, equals + 1);
  if (!value) return std::unexpected(value.error());
  return EnvVar{std::string(name), std::move(*value)};
}

unsigned column_of(std::string_view line, std::size_t byte) {
  unsigned column = 1;
  for (const char c : line.substr(0, byte))
    column += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
  return column;
}

}  // namespace

std::string_view env_name_fault(std::string_view name) {
  if (name.empty()) return "the name of a variable is empty";
  if (name.find('=') != std::string_view::npos) return "the name of a variable holds '='";
  if (name.find('\0') != std::string_view::npos) return "the name of a variable holds a NUL byte";
  return {};
}

EnvFile parse_env_file(std::string_view text, std::string_view file_name) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  EnvFile out;
  std::unordered_map<std::string, std::size_t> known;  // keeps a long file linear
  unsigned number = 0;
  for (const std::string_view line : split_lines(text)) {
    ++number;
    const auto add = [&](const Fault& fault) {
      out.problems.push_back({std::string(file_name), number, column_of(line, fault.at), fault.what,
                              fault.expected, std::string(line)});
    };
    const std::size_t at = skip_blanks(line, 0);
    if (at == line.size() || line[at] == '#') continue;
    if (const std::size_t nul = line.find('\0'); nul != std::string_view::npos) {
      add({nul, "a NUL byte", "text"});
      continue;
    }
    auto variable = variable_from(line, at);
    if (!variable) {
      add(variable.error());
      continue;
    }
    const auto [place, fresh] = known.try_emplace(variable->name, out.variables.size());
    if (fresh)
      out.variables.push_back(std::move(*variable));
    else
      out.variables[place->second].value = std::move(variable->value);
  }
  return out;
}

}  // namespace gpuward::config
