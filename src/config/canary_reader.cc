#include "config/canary_reader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>

#include "config/config.h"

namespace gpuward::config {
namespace {

using namespace std::chrono_literals;

constexpr Range kEvery{1s, 24h, "1s to 24h"};
constexpr Range kWithin{100ms, 10min, "100ms to 10m"};
constexpr std::size_t kLongestType = 200;
constexpr std::size_t kLongestPointer = 500;
constexpr const char* kPointers = R"(at most 64 JSON pointers: ["/results/0/timing", "/job"])";

void read_method(TableReader& service, const Node& table, Canary& canary) {
  static constexpr std::array<std::string_view, 3> kMethods = {"GET", "POST", "PUT"};
  const Entry* body = table.find("body");
  canary.method = body != nullptr ? "POST" : "GET";
  const Entry* entry = table.find("method");
  if (entry == nullptr) return;
  const std::string* text = service.string(entry->value, "canary.method");
  if (text == nullptr) return;
  if (std::ranges::find(kMethods, std::string_view(*text)) == kMethods.end())
    return service.add(entry->value.place, "'canary.method' does not know " + in_quotes(*text),
                       R"("GET", "POST" or "PUT")");
  canary.method = *text;
  if (*text == "GET" && body != nullptr)
    service.add(body->place, "'canary.body' is not sent with GET", R"(method = "POST")");
}

// It goes into a line of the request as it stands, so nothing may end that line early.
void read_type(TableReader& service, const Node& table, Canary& canary) {
  const Entry* entry = table.find("type");
  if (entry == nullptr) return;
  const std::string* text = service.string(entry->value, "canary.type");
  if (text == nullptr) return;
  const bool fits = !text->empty() && text->size() <= kLongestType && text->front() != ' ' &&
                    std::ranges::all_of(*text, [](char c) { return c >= ' ' && c < '\x7f'; });
  if (!fits)
    return service.add(entry->value.place, "'canary.type' is no media type", R"("image/png")");
  if (table.find("body") == nullptr)
    return service.add(entry->place, "'canary.type' has nothing to work on", "'body' beside it");
  canary.type = *text;
}

void read_status(TableReader& service, const Node& table, Canary& canary) {
  const Entry* entry = table.find("status");
  if (entry == nullptr) return;
  std::uint32_t value = 0;
  const std::string& text = entry->value.text;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = code == std::errc{} && end == text.data() + text.size();
  const bool is_busy = value == 408 || value == 429;
  if (entry->value.kind == Kind::integer && whole && value >= 200 && value < 500 && !is_busy)
    canary.status = value;
  else
    service.add(entry->value.place, "'canary.status' is no such status",
                "200 to 499, but for 408 and 429, by which a service says that it is busy");
}

void read_ignore(TableReader& service, const Node& table, Canary& canary) {
  const Entry* entry = table.find("ignore");
  if (entry == nullptr) return;
  if (entry->value.kind != Kind::array)
    return service.wrong_type(entry->value, "canary.ignore", kPointers);
  for (const Node& item : entry->value.items) {
    const std::string* text = service.string(item, "canary.ignore");
    if (text == nullptr) continue;
    if (!answer::is_pointer(*text) || text->size() > kLongestPointer)
      service.add(item.place, in_quotes(text->substr(0, 80)) + " is no JSON pointer",
                  R"(one such as "/results/0/timing")");
    else if (canary.ignore.size() == kMostIgnored)
      return service.add(item.place, "'canary.ignore' has more than is kept", kPointers);
    else
      canary.ignore.push_back(*text);
  }
}

void read_tolerance(TableReader& service, const Node& table, Canary& canary) {
  const Entry* entry = table.find("tolerance");
  if (entry == nullptr) return;
  double value = 0;
  const std::string& text = entry->value.text;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = code == std::errc{} && end == text.data() + text.size();
  if (is_number(entry->value.kind) && whole && value >= 0 && value <= 1)
    canary.tolerance = value;
  else
    service.add(entry->value.place, "'canary.tolerance' is no part of a number",
                "0 to 1: 0.01 is one in a hundred");
}

// Of a file that has to be read whole: its text, or a fault.
std::string read_file_at(const std::string& key, const std::string& path, std::size_t limit,
                         std::vector<CanaryFault>& faults) {
  auto text = read_text(path, limit);
  if (!text) {
    const bool large = text.error().code.value() == EFBIG;
    faults.push_back(
        {key, "cannot read '" + key + "': " + text.error().code.message(),
         large ? "at most " + to_string(Bytes{limit}) : "a readable file at " + in_quotes(path)});
    return {};
  }
  if (text->empty()) faults.push_back({key, "'" + key + "' is empty: " + in_quotes(path), {}});
  return std::move(*text);
}

}  // namespace

void read_canary(TableReader& service, const Node& table, const std::string& base, Canary& canary) {
  read_method(service, table, canary);
  const auto path = [&](std::string_view key, std::string& into) {
    if (const Entry* entry = table.find(key))
      service.path(entry->value, "canary." + std::string(key), base, into);
  };
  path("body", canary.body_file);
  path("answer", canary.answer_file);
  read_type(service, table, canary);
  read_status(service, table, canary);
  read_ignore(service, table, canary);
  read_tolerance(service, table, canary);
  service.duration(table, "canary", "every", kEvery, canary.every);
  service.duration(table, "canary", "within", kWithin, canary.within);
  for (const char* key : {"ignore", "tolerance"})
    if (const Entry* entry = table.find(key); entry != nullptr && table.find("answer") == nullptr)
      service.add(entry->place, "'canary." + std::string(key) + "' has nothing to work on",
                  "'answer' beside it");
}

CanaryFiles read_canary_files(const Canary& canary, const std::string& folder) {
  CanaryFiles files;
  const auto whole = [&](const std::string& path) {
    return path.starts_with('/') || folder.empty() ? path : folder + "/" + path;
  };
  if (!canary.body_file.empty())
    files.body = read_file_at("canary.body", whole(canary.body_file), kLargestCanaryBody.count,
                              files.faults);
  if (canary.answer_file.empty()) return files;
  const std::size_t before = files.faults.size();
  auto text = read_file_at("canary.answer", whole(canary.answer_file), answer::kLongestAnswer,
                           files.faults);
  if (files.faults.size() != before) return files;
  auto known = answer::KnownAnswer::make(std::move(text), {canary.ignore, canary.tolerance});
  if (!known) {
    files.faults.push_back({"canary.answer",
                            "'canary.answer' is no JSON, in which 'ignore' and 'tolerance' name "
                            "values",
                            "JSON, or neither of them: then it is compared byte by byte"});
    return files;
  }
  for (const auto& pointer : known->idle_pointers())
    files.slips.push_back({"canary.ignore",
                           "'canary.ignore': " + in_quotes(pointer) + " names nothing in 'answer'",
                           "a value that stands there"});
  files.known = std::move(*known);
  return files;
}

}  // namespace gpuward::config
