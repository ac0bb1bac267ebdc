#include "domain/door.h"

#include <array>
#include <utility>

namespace gpuward {
namespace {

constexpr std::array kProtocols = {
    std::pair{std::string_view("none"), Protocol::none},
    std::pair{std::string_view("http"), Protocol::http},
    std::pair{std::string_view("openai"), Protocol::openai},
    std::pair{std::string_view("gradio"), Protocol::gradio},
    std::pair{std::string_view("comfyui"), Protocol::comfyui},
};
constexpr std::array kOnClientGone = {
    std::pair{std::string_view("auto"), OnClientGone::automatic},
    std::pair{std::string_view("close"), OnClientGone::close},
    std::pair{std::string_view("drain"), OnClientGone::drain},
};

template <class Table>
auto value_named(const Table& table, std::string_view word)
    -> std::optional<decltype(table[0].second)> {
  for (const auto& [text, value] : table)
    if (text == word) return value;
  return std::nullopt;
}

template <class Table, class Value>
std::string_view name_in(const Table& table, Value value) {
  for (const auto& [text, known] : table)
    if (known == value) return text;
  return "unknown";
}

}  // namespace

std::optional<Protocol> protocol_named(std::string_view word) {
  return value_named(kProtocols, word);
}
std::string_view name(Protocol protocol) {
  return name_in(kProtocols, protocol);
}

std::optional<OnClientGone> on_client_gone_named(std::string_view word) {
  return value_named(kOnClientGone, word);
}
std::string_view name(OnClientGone what) {
  return name_in(kOnClientGone, what);
}

}  // namespace gpuward
