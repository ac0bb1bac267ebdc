#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/text.h"

// What the GPU driver writes into the kernel's log about its cards, as values. Nothing of a line is
// kept but numbers and the name of a process (harm.md 11).

namespace gpuward {

/// A card's place on the PCI bus. Its function is always 0 and is not kept.
struct PciAddress {
  std::uint32_t domain = 0;
  std::uint8_t bus = 0;
  std::uint8_t device = 0;  ///< 0 to 31

  friend auto operator<=>(const PciAddress&, const PciAddress&) = default;
};

/// "0000:61:00", with or without "PCI:" before and a function (".0") after it; hexadecimal of
/// either case, a domain of 4 to 8 digits (the driver's library writes 8, the kernel 4). nullopt
/// for anything else: nothing may follow.
std::optional<PciAddress> parse_pci(std::string_view text);
/// "0000:61:00", as the driver writes it into the kernel's log.
std::string to_string(PciAddress address);

/// One Xid, the driver's word for "something went wrong with this card":
/// "NVRM: Xid (PCI:0000:61:00): 45, pid=1496200, name=python, Ch 0000000a".
struct XidLine {
  PciAddress card;
  std::uint32_t number = 0;
  /// As the host counts, whatever the PID namespace of the reader (harm.md 4); absent: the driver
  /// did not know, or an old one does not say. Never 0.
  std::optional<std::uint32_t> pid;
  Text<32> process;  ///< its name as the kernel has it, printable; empty: not said
  std::optional<std::uint32_t> instance;   ///< of MIG ("GPU-I:05")
  std::optional<std::uint32_t> caused_by;  ///< "caused by previous Xid 149"
  /// Of 154, what the driver wants done: 0 nothing, 1 reset, 2 reboot, 3 drain P2P, 4 drain and
  /// reset, as NVML's field 230.
  std::optional<std::uint32_t> recovery;
  std::size_t rest =
      0;  ///< where in the line its text for people begins; the line's length: nowhere

  friend bool operator==(const XidLine&, const XidLine&) = default;
};

/// The driver says in words, without a number, that a card no longer answers on its bus.
struct OffBusLine {
  std::optional<PciAddress> card;  ///< absent: the address stands in another line, or nowhere

  friend bool operator==(const OffBusLine&, const OffBusLine&) = default;
};

/// The driver names a card, before the first Xid of it: "NVRM: GPU at PCI:0000:61:00: GPU-uuid".
struct CardNameLine {
  PciAddress card;
  Text<48> uuid;  ///< as NVML gives it

  friend bool operator==(const CardNameLine&, const CardNameLine&) = default;
};

/// monostate: the line is about something else.
using CardLine = std::variant<std::monostate, XidLine, OffBusLine, CardNameLine>;

/// Takes apart the text of one record of the kernel's log, as the kernel has it: it begins with
/// "NVRM: ". What stands elsewhere in a line may be words of others, a file's or a process's name.
/// At most the first kLongestKernelLine bytes are looked at. Reads the shapes of drivers from 304
/// to 595. Never throws, allocates nothing.
CardLine parse_card_line(std::string_view text);

/// The card that "NVRM: The NVIDIA GPU 0000:b3:00.0" is about, the first of up to three lines of
/// which the last says that it has fallen off the bus. One record for the kernel; a file of lines
/// has them apart.
std::optional<PciAddress> announced_card(std::string_view text);

/// What the kernel said in a line that a log daemon or `dmesg` wrote: without "Feb 14 05:03:41 host
/// kernel: " and "[ 1843.308145] ".
std::string_view kernel_message(std::string_view line);

/// What the kernel itself allows a record of its log (PRINTKRB_RECORD_MAX of printk), about.
inline constexpr std::size_t kLongestKernelLine = 2048;

}  // namespace gpuward
