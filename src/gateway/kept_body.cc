#include "gateway/kept_body.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

namespace gpuward::gateway {

// AES-256 in counter mode: any place can be read from, and nothing is added to the size. A key is
// used for one file, so a counter from 0 is never used twice.
struct SpillFile::Cipher {
  using Context = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;
  std::array<unsigned char, 32> key{};
  Context writes{EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free};
  Context reads{EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free};

  Cipher() = default;
  Cipher(const Cipher&) = delete;
  Cipher& operator=(const Cipher&) = delete;
  ~Cipher() { OPENSSL_cleanse(key.data(), key.size()); }

  bool begin(EVP_CIPHER_CTX* context) const {
    constexpr std::array<unsigned char, 16> kFromZero{};
    return context != nullptr && EVP_EncryptInit_ex(context, EVP_aes_256_ctr(), nullptr, key.data(),
                                                    kFromZero.data()) == 1;
  }
};

namespace {

// Counter mode encrypts and decrypts alike.
bool turn(EVP_CIPHER_CTX* context, const char* from, char* to, std::size_t count) {
  int turned = 0;
  return EVP_EncryptUpdate(context, reinterpret_cast<unsigned char*>(to), &turned,
                           reinterpret_cast<const unsigned char*>(from),
                           static_cast<int>(count)) == 1 &&
         static_cast<std::size_t>(turned) == count;
}

Result<os::Fd> open_nameless(const char* folder) {
  auto file = os::Fd::open(folder, O_TMPFILE | O_RDWR | O_EXCL, 0600);
  if (file || (file.error().code.value() != EOPNOTSUPP && file.error().code.value() != EISDIR &&
               file.error().code.value() != EINVAL))
    return file;
  std::string name = std::string(folder) + "/gpuward-XXXXXX";
  auto made = os::Fd::take(::mkostemp(name.data(), O_CLOEXEC));
  if (!made) return fail(last_error("make a file in", folder));
  if (::unlink(name.c_str()) < 0) return fail(last_error("unlink", name));
  return made;
}

constexpr std::size_t kPiece = 16 << 10;

}  // namespace

SpillFile::SpillFile(os::Fd file, std::unique_ptr<Cipher> cipher)
    : file_(std::move(file)), cipher_(std::move(cipher)) {}
SpillFile::SpillFile(SpillFile&&) noexcept = default;
SpillFile& SpillFile::operator=(SpillFile&&) noexcept = default;
SpillFile::~SpillFile() = default;

Result<SpillFile> SpillFile::make(const char* folder) {
  auto file = open_nameless(folder);
  if (!file) return fail(std::move(file).error());
  auto cipher = std::make_unique<Cipher>();
  if (RAND_bytes(cipher->key.data(), static_cast<int>(cipher->key.size())) != 1 ||
      !cipher->begin(cipher->writes.get()))
    return fail(Errc::not_supported, "begin to encrypt a waiting upload");
  return SpillFile(std::move(*file), std::move(cipher));
}

Result<void> SpillFile::append(std::string_view bytes) {
  std::array<char, kPiece> piece;
  while (!bytes.empty()) {
    const auto part = bytes.substr(0, piece.size());
    if (!turn(cipher_->writes.get(), part.data(), piece.data(), part.size()))
      return fail(Errc::not_supported, "encrypt a waiting upload");
    GPUWARD_TRY(os::write_all(file_, {piece.data(), part.size()}, "keep a waiting upload"));
    size_ += part.size();
    bytes.remove_prefix(part.size());
  }
  return {};
}

Result<std::size_t> SpillFile::read(std::uint64_t offset, char* into, std::size_t room) {
  if (offset == 0 && !cipher_->begin(cipher_->reads.get()))
    return fail(Errc::not_supported, "begin to decrypt a waiting upload");
  const ssize_t count = ::pread(file_.get(), into, room, static_cast<off_t>(offset));
  if (count < 0) return fail(last_error("read a waiting upload"));
  if (!turn(cipher_->reads.get(), into, into, static_cast<std::size_t>(count)))
    return fail(Errc::not_supported, "decrypt a waiting upload");
  return static_cast<std::size_t>(count);
}

Result<void> KeptBody::append(std::string_view bytes) {
  if (!rest_ && start_.size() + bytes.size() <= kInMemory && memory_->has_room(bytes.size())) {
    start_.append(bytes);
    memory_->used_ += bytes.size();
    return {};
  }
  if (!rest_) {
    auto file = SpillFile::make(folder_->c_str());
    if (!file) return fail(std::move(file).error());
    rest_ = std::make_unique<SpillFile>(std::move(*file));
  }
  return rest_->append(bytes);
}

void KeptBody::clear() {
  memory_->used_ -= start_.size();
  start_ = {};
  rest_.reset();
}

}  // namespace gpuward::gateway
