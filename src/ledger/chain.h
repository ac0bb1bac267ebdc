#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "domain/event.h"

// What binds the entries of the ledger to each other: each one's hash covers its own fields and the
// hash of the entry before it, so none can be changed, removed or put in between without changing
// every hash after it.

namespace gpuward::ledger {

/// A SHA-256.
using Hash = std::array<std::byte, 32>;

/// What the first entry of all follows.
inline constexpr Hash kNothingBefore{};

/// The hash of @p entry where @p before is that of the one before it.
Hash chain(const Hash& before, const LedgerEntry& entry);

/// 64 hexadecimal digits, and back; nullopt for anything else.
std::string to_hex(const Hash& hash);
std::optional<Hash> parse_hash(std::string_view digits);

/// Where a chain stands: its newest entry's number, which is also how many there ever were, and
/// hash.
struct Head {
  std::uint64_t number = 0;
  Hash hash = kNothingBefore;
  friend bool operator==(const Head&, const Head&) = default;
};

}  // namespace gpuward::ledger
