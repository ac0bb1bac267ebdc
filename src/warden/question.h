#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "os/socket.h"

namespace gpuward::warden {

namespace asio = boost::asio;

/// What became of one question in HTTP.
struct Answer {
  enum class End : std::uint8_t {
    whole,      ///< `status`, and `body`
    long_,      ///< `status`, and more than Question::kLongestBody after it
    refused,    ///< nobody listens
    unreached,  ///< no connection for another reason, as for want of descriptors here
    closed,     ///< the connection ended before the answer did
    garbage,    ///< it is no HTTP, or its header is longer than 16 KiB
  };
  End end = End::closed;
  std::uint32_t status = 0;
  std::string body;
};

/// One request over a connection of its own, and its answer. It has no deadline: whoever asks has,
/// and may close() it at any time. Nothing of it blocks; what is read is bounded, and what comes
/// after that is not read. Loop thread only.
class Question : public std::enable_shared_from_this<Question> {
 public:
  static constexpr std::size_t kLongestBody = std::size_t{1} << 20;
  using OnEnd = std::function<void(Answer)>;

  /// @p head is sent, then @p body, which may be none. @p on_end is called once, from the loop, and
  /// not after close().
  static std::shared_ptr<Question> ask(asio::io_context& loop, const os::TcpAddress& address,
                                       std::string head, std::shared_ptr<const std::string> body,
                                       OnEnd on_end);
  void close();
  /// Bytes of the answer so far.
  std::uint64_t received() const { return received_; }

 private:
  using Parser = boost::beast::http::response_parser<boost::beast::http::string_body>;

  Question(asio::io_context& loop, std::string head, std::shared_ptr<const std::string> body,
           OnEnd on_end)
      : socket_(loop), head_(std::move(head)), body_(std::move(body)), on_end_(std::move(on_end)) {}
  void connect(const os::TcpAddress& address);
  void expect_answer();
  void write();
  void read();
  void parse();
  void at_end();
  void finish(Answer::End end);

  asio::ip::tcp::socket socket_;
  std::string head_;
  std::shared_ptr<const std::string> body_;
  OnEnd on_end_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::uint64_t received_ = 0;
  bool closed_ = false;
};

}  // namespace gpuward::warden
