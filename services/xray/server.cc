// The only file that sees Boost.Asio and Boost.Beast: they take long to compile.
#include "xray/server.h"

#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <csignal>
#include <cstdio>
#include <optional>

namespace gpuward::xray {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;
using Code = boost::system::error_code;
using namespace std::chrono_literals;

constexpr std::uint32_t kMaxHeader = 16 * 1024;
constexpr std::size_t kMaxConnections = 512;
constexpr std::size_t kMaxDrained = 256U << 20U;  // read and dropped of a body that was refused
constexpr std::size_t kDrainAtOnce = 65536;
constexpr auto kIdle = 75s;      // between requests
constexpr auto kTransfer = 60s;  // for one whole body, one whole answer

// Functions of Asio that take a Code report through it and return it as well.
// NOLINTBEGIN(bugprone-unused-return-value)
std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

// One connection: read a request, answer it, and again while the client keeps it open.
//
//   reading --request--> working --answer--> writing --keep-alive--> reading
//                           |                    '--close--> draining --> closed
//                           '--client leaves: the job is cancelled--> closed
//
// All functions run on the server's one thread; the service calls back through post().
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, const Options& options, Service& service, std::size_t& connections)
      : stream_(std::move(socket)),
        options_(options),
        service_(service),
        connections_(connections) {
    ++connections_;
  }
  ~Session() { --connections_; }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void read() {
    parser_.emplace();
    parser_->header_limit(kMaxHeader);
    parser_->body_limit(options_.max_upload.count);
    stream_.expires_after(kIdle);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](Code code, std::size_t) { self->on_header(code); });
  }

 private:
  void on_header(Code code) {
    if (code) return refuse_or_close(code);
    const auto& header = parser_->get();
    keep_alive_ = header.keep_alive();
    head_ = header.method() == http::verb::head;
    if (!beast::iequals(header[http::field::expect], "100-continue")) return read_body();
    stream_.expires_after(kTransfer);
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(stream_, asio::buffer(kContinue),
                      [self = shared_from_this()](Code failed, std::size_t) {
                        if (!failed) self->read_body();
                      });
  }

  void read_body() {
    stream_.expires_after(kTransfer);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](Code code, std::size_t) {
                       if (code)
                         self->refuse_or_close(code);
                       else
                         self->on_request();
                     });
  }

  // What a parser refuses is answered; a connection that broke is not.
  void refuse_or_close(Code code) {
    keep_alive_ = false;
    if (code == http::error::body_limit) {
      const Numbers numbers{{"limit_bytes", options_.max_upload.count}};
      return write(problem_answer({413, "too_large", "the request body is too large", numbers}));
    }
    if (code == http::error::header_limit)
      return write(problem_answer(
          {431, "too_large", "the request header is too long", {{"limit_bytes", kMaxHeader}}}));
    const bool closed = code == http::error::end_of_stream ||
                        code == http::error::partial_message || code == beast::error::timeout;
    if (!closed && code.category() == http::make_error_code(http::error::bad_method).category())
      return write(problem_answer({400, "bad_request", "this is no valid HTTP request", {}}));
  }

  void on_request() {
    auto message = parser_->release();
    Request request;
    request.method = view(message.method_string());
    const auto target = view(message.target());
    request.path = target.substr(0, target.find('?'));
    request.content_type = view(message[http::field::content_type]);
    request.accept_language = view(message[http::field::accept_language]);
    request.nonce = view(message["X-Film-Nonce"]);
    request.asks_fault = message["X-Film-Fault"] == "yes";
    request.body = std::move(message.body());
    if (!Service::is_analyze(request)) return write(service_.answer(request));
    stream_.expires_never();
    cancel_ = std::stop_source();
    working_ = true;
    watch();
    // The answer comes on another thread, which must not be the one to let go of the session last:
    // it hands its share on.
    service_.analyze(std::move(request), cancel_.get_token(),
                     [self = shared_from_this()](Answer answer) mutable {
                       const auto executor = self->stream_.get_executor();
                       asio::post(executor,
                                  [self = std::move(self), answer = std::move(answer)]() mutable {
                                    self->on_answer(std::move(answer));
                                  });
                     });
  }

  // While the films are worked on nothing is read; a readable socket then means the client has sent
  // its next request already (which is left alone) or has closed its side (which cancels the work).
  void watch() {
    stream_.socket().async_wait(tcp::socket::wait_read, [self = shared_from_this()](Code code) {
      if (code || !self->working_) return;
      char byte = 0;
      const auto got =
          ::recv(self->stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      if (got > 0) return;
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return self->watch();
      self->gone_ = true;
      self->cancel_.request_stop();
      Code ignored;
      self->stream_.socket().close(ignored);
    });
  }

  void on_answer(Answer answer) {
    working_ = false;
    Code ignored;
    stream_.socket().cancel(ignored);
    if (!gone_) write(std::move(answer));
  }

  void write(Answer answer) {
    auto& message = answer_.emplace();
    message.version(11);
    message.result(answer.status);
    message.set(http::field::server, "gpuward-xray");
    message.set(http::field::content_type, answer.content_type);
    message.set(http::field::cache_control, "no-store");
    if (!answer.language.empty()) message.set(http::field::content_language, answer.language);
    if (!answer.allow.empty()) message.set(http::field::allow, answer.allow);
    if (answer.retry_after_seconds > 0)
      message.set(http::field::retry_after, std::to_string(answer.retry_after_seconds));
    message.keep_alive(keep_alive_);
    message.content_length(answer.body.size());
    if (!head_) message.body() = std::move(answer.body);
    stream_.expires_after(kTransfer);
    serializer_.emplace(message);
    auto on_written = [self = shared_from_this()](Code code, std::size_t) {
      self->on_written(code);
    };
    if (head_)
      http::async_write_header(stream_, *serializer_, std::move(on_written));
    else
      http::async_write(stream_, *serializer_, std::move(on_written));
  }

  void on_written(Code code) {
    if (code) return;
    if (keep_alive_) return read();
    // Closing at once with unread bytes would reset the connection and take the answer along.
    Code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    buffer_.clear();
    drain();
  }

  void drain() {
    stream_.expires_after(5s);
    stream_.async_read_some(buffer_.prepare(kDrainAtOnce),
                            [self = shared_from_this()](Code code, std::size_t count) {
                              self->drained_ += count;
                              if (!code && self->drained_ < kMaxDrained) self->drain();
                            });
  }

  beast::tcp_stream stream_;
  const Options& options_;
  Service& service_;
  std::size_t& connections_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<http::response<http::string_body>> answer_;
  std::optional<http::response_serializer<http::string_body>> serializer_;
  std::stop_source cancel_;
  bool working_ = false, gone_ = false, keep_alive_ = false, head_ = false;
  std::size_t drained_ = 0;
};

class Server {
 public:
  Server(const Options& options, Service& service)
      : options_(options), service_(service), acceptor_(loop_), retry_(loop_), signals_(loop_) {}

  Result<void> run() {
    GPUWARD_TRY(listen());
    watch_signals();
    accept();
    announce();
    loop_.run();
    return {};
  }

 private:
  Result<void> listen() {
    const std::string where = options_.host + ":" + std::to_string(options_.port);
    Code code;
    const auto address = asio::ip::make_address(options_.host, code);
    if (code) return fail(Errc::invalid, "'" + options_.host + "' is not a numeric address");
    const tcp::endpoint endpoint(address, options_.port);
    acceptor_.open(endpoint.protocol(), code);
    if (!code) acceptor_.set_option(tcp::acceptor::reuse_address(true), code);
    if (!code) acceptor_.bind(endpoint, code);
    if (!code) acceptor_.listen(asio::socket_base::max_listen_connections, code);
    if (code) return fail(Error(std::error_code(code), "listen on '" + where + "'"));
    return {};
  }

  void announce() {
    Code code;
    const auto endpoint = acceptor_.local_endpoint(code);
    const auto address = endpoint.address().to_string(code);
    const bool six = endpoint.address().is_v6();
    std::printf("listening on http://%s%s%s:%u\n", six ? "[" : "", address.c_str(), six ? "]" : "",
                unsigned{endpoint.port()});
    std::fflush(stdout);
  }

  void watch_signals() {
    Code ignored;
    signals_.add(SIGINT, ignored);
    signals_.add(SIGCHLD, ignored);
    // Until here TERM has its usual effect; a stubborn service takes no notice of it.
    if (options_.faults.probability(Fault::stubborn) > 0)
      std::signal(SIGTERM, SIG_IGN);
    else
      signals_.add(SIGTERM, ignored);
    wait_for_signal();
  }

  void wait_for_signal() {
    signals_.async_wait([this](Code code, int signal) {
      if (code) return;
      if (signal != SIGCHLD) return loop_.stop();
      service_.collect();
      wait_for_signal();
    });
  }

  void accept() {
    acceptor_.async_accept([this](Code code, tcp::socket socket) {
      if (code) {
        // Out of descriptors, most likely: the waiting connection stays in the kernel's queue.
        retry_.expires_after(100ms);
        retry_.async_wait([this](Code stopped) {
          if (!stopped) accept();
        });
        return;
      }
      Code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      if (connections_ < kMaxConnections)
        std::make_shared<Session>(std::move(socket), options_, service_, connections_)->read();
      accept();
    });
  }

  const Options& options_;
  Service& service_;
  std::size_t connections_ = 0;
  asio::io_context loop_{1};
  tcp::acceptor acceptor_;
  asio::steady_timer retry_;
  asio::signal_set signals_;
};

// NOLINTEND(bugprone-unused-return-value)
}  // namespace

Result<void> serve(const Options& options, Service& service) {
  // Leaked on purpose: threads of the service may post to its loop until the process ends.
  auto* server = new Server(options, service);
  return server->run();
}

}  // namespace gpuward::xray
