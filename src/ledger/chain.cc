#include "ledger/chain.h"

// The plain functions: those that OpenSSL 3 wants instead read a configuration file and load
// providers, which a static program cannot and a hash does not need.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <algorithm>
#include <charconv>
#include <openssl/sha.h>

namespace gpuward::ledger {
namespace {

class Hasher {
 public:
  Hasher() { SHA256_Init(&context_); }
  void raw(const void* data, std::size_t size) { SHA256_Update(&context_, data, size); }
  void add(std::uint64_t number) {
    std::array<unsigned char, 8> bytes{};
    for (auto& byte : bytes) {
      byte = static_cast<unsigned char>(number & 0xffU);
      number >>= 8;
    }
    raw(bytes.data(), bytes.size());
  }
  // With its length in front, or two fields could trade bytes.
  void add(std::string_view text) {
    add(static_cast<std::uint64_t>(text.size()));
    raw(text.data(), text.size());
  }
  Hash result() {
    Hash hash;
    SHA256_Final(reinterpret_cast<unsigned char*>(hash.data()), &context_);
    return hash;
  }

 private:
  SHA256_CTX context_{};
};

}  // namespace

Hash chain(const Hash& before, const LedgerEntry& entry) {
  Hasher hasher;
  hasher.raw(before.data(), before.size());
  hasher.add(entry.number);
  hasher.add(static_cast<std::uint64_t>(entry.at_unix_ms));
  hasher.add(static_cast<std::uint64_t>(entry.kind));
  hasher.add(entry.service);
  hasher.add(std::uint64_t{entry.replica});
  hasher.add(std::uint64_t{entry.generation});
  hasher.add(std::uint64_t{entry.actor.has_value()});
  if (entry.actor) {
    hasher.add(std::uint64_t{entry.actor->uid});
    hasher.add(std::uint64_t{entry.actor->has_login});
    hasher.add(std::uint64_t{entry.actor->login_uid});
    hasher.add(static_cast<std::uint64_t>(entry.actor->pid.number));
    hasher.add(entry.actor->command.view());
  }
  hasher.add(entry.why);
  hasher.add(entry.evidence);
  hasher.add(entry.outcome);
  hasher.add(entry.of);
  hasher.add(entry.origin);
  hasher.add(entry.origin_number);
  return hasher.result();
}

std::string to_hex(const Hash& hash) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(hash.size() * 2);
  for (const auto byte : hash) {
    const auto value = static_cast<unsigned>(byte);
    text += kDigits[value >> 4U];
    text += kDigits[value & 0xfU];
  }
  return text;
}

std::optional<Hash> parse_hash(std::string_view digits) {
  Hash hash;
  if (digits.size() != hash.size() * 2) return std::nullopt;
  for (std::size_t at = 0; at < hash.size(); ++at) {
    unsigned value = 0;
    const char* begin = digits.data() + at * 2;
    const auto [end, error] = std::from_chars(begin, begin + 2, value, 16);
    if (error != std::errc() || end != begin + 2) return std::nullopt;
    hash[at] = static_cast<std::byte>(value);
  }
  return hash;
}

}  // namespace gpuward::ledger
