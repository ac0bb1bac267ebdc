#pragma once

#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include "base/error.h"
#include "control/messages.h"
#include "os/durable.h"
#include "os/fd.h"

// Small books of the state folder that outlive the warden and the machine: one frame in a file
// each, written beside and renamed.

namespace gpuward::control {

inline constexpr std::size_t kLargestBook = std::size_t{4} << 20;

/// Reads @p path. An empty book where there is no file. Errors: as open(2) and read(2);
/// Errc::bad_message for what is not such a book.
template <class Book>
Result<Book> read_book(const std::string& path) {
  auto text = os::read_regular_at(os::Fd(), path.c_str(), kLargestBook);
  if (!text && text.error().code.value() == ENOENT) return Book{};
  if (!text) return fail(std::move(text).error());
  const auto bytes = std::as_bytes(std::span(*text));
  if (bytes.size() < wire::kFrameHeader) return fail(Errc::bad_message, "read '" + path + "'");
  const auto rest = bytes.subspan(wire::kFrameHeader);
  if (wire::frame_length(bytes.template first<wire::kFrameHeader>()) != rest.size())
    return fail(Errc::bad_message, "read '" + path + "'");
  auto body = wire::open_body(rest);
  if (!body) return fail(std::move(body).error());
  return wire::decode<Book>(*body);
}

/// The same for who goes on without: a damaged file is kept under another name, an empty book is
/// returned, and @p trouble says so. What cannot be read for another reason stays where it is.
template <class Book>
Book read_or_set_aside(const std::string& path, std::string* trouble) {
  auto book = read_book<Book>(path);
  if (book) return std::move(*book);
  *trouble = book.error().message();
  if (book.error().code == make_error_code(Errc::bad_message)) {
    const std::string aside = path + ".damaged";
    if (std::rename(path.c_str(), aside.c_str()) == 0) *trouble += "; kept as " + aside;
  }
  return {};
}

/// Before the first write over a book that read_or_set_aside() could not read: it may be sound, and
/// is kept as PATH.unread. Nothing where there is none. Errors: as rename(2).
inline Result<void> keep_unread(const std::string& path) {
  if (std::rename(path.c_str(), (path + ".unread").c_str()) == 0 || errno == ENOENT) return {};
  return fail(last_error("rename", path));
}

/// Writes @p book to @p path, beside and renamed, and onto the disk: what is done next may be
/// remembered by nothing else. Errors: as os::replace_file_durably();
/// Errc::bad_message when it is larger than kLargestBook.
template <class Book>
Result<void> write_book(const std::string& path, const Book& book) {
  std::vector<std::byte> buffer(kLargestBook);
  auto frame = wire::encode(book, buffer);
  if (!frame) return fail(std::move(frame).error());
  return os::replace_file_durably(path, *frame, 0600);
}

}  // namespace gpuward::control
