#include "domain/xid.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/utf8.h"

namespace gpuward {
namespace {

constexpr std::string_view kDriver = "NVRM: ";
constexpr std::string_view kXid = "Xid (";
constexpr std::string_view kOffBus = "fallen off the bus";
constexpr std::uint32_t kLargestXid = 99'999;
constexpr std::uint32_t kLargestPid = 4 << 20;  // PID_MAX_LIMIT

// What is left to read of a line.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : left_(text) {}

  bool skip(std::string_view word) {
    if (!left_.starts_with(word)) return false;
    left_.remove_prefix(word.size());
    return true;
  }
  /// A number of @p digits_at_least to @p digits_at_most digits, all of them.
  std::optional<std::uint32_t> number(int base, std::size_t at_least, std::size_t at_most) {
    const auto is_digit = [base](char c) {
      const bool letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      return (c >= '0' && c <= '9') || (base == 16 && letter);
    };
    std::size_t count = 0;
    while (count < left_.size() && count <= at_most && is_digit(left_[count])) ++count;
    if (count < at_least || count > at_most) return std::nullopt;
    std::uint32_t value = 0;
    const char* digits = left_.data();
    const auto parsed = std::from_chars(digits, digits + count, value, base);
    if (parsed.ec != std::errc{}) return std::nullopt;
    left_.remove_prefix(count);
    return value;
  }
  /// All up to @p stop, which stays; nullopt where it does not come.
  std::optional<std::string_view> until(char stop) {
    const auto at = left_.find(stop);
    if (at == left_.npos) return std::nullopt;
    return take(at);
  }
  std::string_view take(std::size_t count) {
    const auto taken = left_.substr(0, count);
    left_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view left() const { return left_; }

 private:
  std::string_view left_;
};

std::optional<PciAddress> read_pci(Cursor& at) {
  const auto domain = at.number(16, 4, 8);
  if (!domain || !at.skip(":")) return std::nullopt;
  const auto bus = at.number(16, 2, 2);
  if (!bus || !at.skip(":")) return std::nullopt;
  const auto device = at.number(16, 2, 2);
  if (!device || *device > 31) return std::nullopt;
  return PciAddress{*domain, static_cast<std::uint8_t>(*bus), static_cast<std::uint8_t>(*device)};
}

// The first address in @p text that nothing runs into.
std::optional<PciAddress> find_pci(std::string_view text) {
  const auto part_of_word = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (at > 0 && part_of_word(text[at - 1])) continue;
    Cursor cursor(text.substr(at));
    auto address = read_pci(cursor);
    if (address && (cursor.left().empty() || !part_of_word(cursor.left().front()))) return address;
  }
  return std::nullopt;
}

// "1496200", "'1496200'"; what is neither, as "'<unknown>'", is passed over.
std::optional<std::uint32_t> read_pid(Cursor& at) {
  const bool quoted = at.skip("'");
  const auto pid = at.number(10, 1, 7);
  if (quoted) (void)at.skip("'");
  const auto end = at.left().find(',');
  (void)at.take(end == std::string_view::npos ? at.left().size() : end);
  return pid && *pid != 0 && *pid <= kLargestPid ? pid : std::nullopt;
}

// Others chose it: only what is safe to show, cut where it is long.
void read_process(Cursor& at, Text<32>& name) {
  const auto end = at.left().find(',');
  auto text = at.take(end == std::string_view::npos ? at.left().size() : end);
  if (text == "<unknown>" || text == "'<unknown>'") return;
  while (!text.empty() && !name.cut()) {
    const auto glyph = take_glyph(text);
    name.append(glyph.code == U'\t' ? std::string_view(" ") : glyph.bytes);
  }
}

std::optional<std::uint32_t> number_after(std::string_view text, std::string_view words, int base,
                                          std::size_t digits) {
  const auto at = text.find(words);
  if (at == text.npos) return std::nullopt;
  return Cursor(text.substr(at + words.size())).number(base, 1, digits);
}

std::optional<XidLine> parse_xid(std::string_view line) {
  Cursor at(line);
  if (!at.skip(kDriver) || !at.skip(kXid)) return std::nullopt;
  (void)at.skip("PCI:");
  XidLine xid;
  const auto card = read_pci(at);
  if (!card) return std::nullopt;
  xid.card = *card;
  const auto more = at.until(')');
  if (!more || more->size() > 40) return std::nullopt;
  xid.instance = number_after(*more, "GPU-I:", 10, 3);
  if (!at.skip("): ")) return std::nullopt;
  const auto number = at.number(10, 1, 5);
  if (!number || *number > kLargestXid) return std::nullopt;
  xid.number = *number;
  if (!at.left().empty() && at.left().front() != ',') return std::nullopt;
  if (at.skip(", pid=")) xid.pid = read_pid(at);
  if (at.skip(", name=")) read_process(at, xid.process);
  (void)at.skip(", ");
  xid.rest = line.size() - at.left().size();
  xid.caused_by = number_after(at.left(), "caused by previous Xid ", 10, 5);
  if (xid.number == 154) xid.recovery = number_after(at.left(), " to 0x", 16, 2);
  return xid;
}

std::optional<CardNameLine> parse_card_name(std::string_view line) {
  Cursor at(line);
  if (!at.skip(kDriver) || !at.skip("GPU at PCI:")) return std::nullopt;
  const auto card = read_pci(at);
  if (!card || !at.skip(": GPU-")) return std::nullopt;
  const auto is_uuid = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
  };
  CardNameLine named{*card, "GPU-"};
  std::size_t size = 0;
  while (size < at.left().size() && is_uuid(at.left()[size])) ++size;
  constexpr std::size_t kUuid = 36;
  if (size != kUuid || size != at.left().size()) return std::nullopt;
  named.uuid.append(at.left());
  return named;
}

}  // namespace

std::optional<PciAddress> parse_pci(std::string_view text) {
  Cursor at(text);
  (void)at.skip("PCI:");
  const auto address = read_pci(at);
  if (address && at.skip(".") && !at.number(16, 1, 1)) return std::nullopt;
  return at.left().empty() ? address : std::nullopt;
}

std::string to_string(PciAddress address) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  const auto add = [&](std::uint32_t value, int digits) {
    for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
      text += kDigits[value >> static_cast<unsigned>(shift) & 0xFU];
  };
  add(address.domain, address.domain > 0xFFFF ? 8 : 4);
  text += ':';
  add(address.bus, 2);
  text += ':';
  add(address.device, 2);
  return text;
}

CardLine parse_card_line(std::string_view text) {
  text = text.substr(0, kLongestKernelLine);
  if (!text.starts_with(kDriver)) return {};
  if (auto xid = parse_xid(text)) return *xid;
  if (text.substr(kDriver.size()).starts_with(kXid)) return {};  // a shape that nobody knows
  if (auto named = parse_card_name(text)) return *named;
  if (text.find(kOffBus) == text.npos) return {};
  return OffBusLine{find_pci(text)};
}

std::optional<PciAddress> announced_card(std::string_view text) {
  constexpr std::string_view kAnnounces = "NVRM: The NVIDIA GPU ";
  if (!text.starts_with(kAnnounces)) return std::nullopt;
  return find_pci(text.substr(0, kLongestKernelLine));
}

std::string_view kernel_message(std::string_view line) {
  constexpr std::string_view kTag = "kernel: ";
  const auto tag = line.find(kTag);
  // Behind another program's tag it would be that program's words.
  if (tag != line.npos && line.substr(0, tag).find(": ") == line.npos)
    line.remove_prefix(tag + kTag.size());
  if (!line.starts_with('[')) return line;
  const auto end = line.find("] ");
  const auto is_time = [](char c) { return (c >= '0' && c <= '9') || c == '.' || c == ' '; };
  if (end == line.npos || !std::ranges::all_of(line.substr(1, end - 1), is_time)) return line;
  return line.substr(end + 2);
}

}  // namespace gpuward
