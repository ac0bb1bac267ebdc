// What the kernel's log says: a record, an Xid, and a whole history of lines that others chose.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "domain/xid.h"
#include "domain/xid_policy.h"
#include "os/kmsg.h"

namespace {

using namespace gpuward;

void check(const XidLine& line, std::string_view text) {
  if (line.rest > text.size() || line.process.size() > 32) std::abort();
  if (line.pid && (*line.pid == 0 || *line.pid > (4U << 20U))) std::abort();
  for (const char c : line.process.view())
    if (static_cast<unsigned char>(c) < 0x20) std::abort();
  if (parse_pci(to_string(line.card)) != line.card) std::abort();
}

void read_line(std::string_view text, XidHistory& history, Instant at) {
  (void)announced_card(text);
  const auto line = parse_card_line(text);
  if (const auto* xid = std::get_if<XidLine>(&line)) {
    check(*xid, text);
    XidFacts facts;
    facts.at = at;
    if (xid->pid && *xid->pid % 2 == 0) facts.service = "s";
    const auto& incident = history.add(*xid, facts);
    // A line without a pid may be another telling of an incident whose process is known.
    if (incident.judged.action == XidAction::restart_service && incident.service.empty())
      std::abort();
  } else if (const auto* words = std::get_if<OffBusLine>(&line)) {
    (void)history.add_off_bus(words->card, at);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  XidHistory history;
  Instant at{std::chrono::hours(1)};
  std::array<char, os::Kmsg::kLongest> buffer{};
  while (!input.empty()) {
    const auto line = input.substr(0, input.find('\n'));
    input.remove_prefix(line.size() < input.size() ? line.size() + 1 : input.size());
    if (const auto record = os::parse_kmsg_record(line, buffer)) {
      if (record->text.size() > line.size() || record->level > 7) std::abort();
      at += record->since_boot % std::chrono::hours(1);
      read_line(record->text, history, at);
    } else {
      read_line(kernel_message(line), history, at);
    }
    at += std::chrono::seconds(1);
  }
  history.forget_old(at);
  return 0;
}
