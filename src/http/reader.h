#pragma once

// Boost.Beast's parser as the head and the chunks are read with it. Only the .cc files of this
// folder include it: it takes long to compile.

#include <boost/beast/http/basic_parser.hpp>

#include "http/head.h"

namespace gpuward::http {

namespace beast_http = boost::beast::http;
using beast_error = boost::beast::error_code;

inline std::string_view view(boost::beast::string_view text) {
  return {text.data(), text.size()};
}

/// Takes one message and keeps nothing of it.
template <bool is_request>
class Reader : public beast_http::basic_parser<is_request> {
 protected:
  using Text = boost::beast::string_view;

  Reader() {
    this->header_limit(kMaxHead);
    this->body_limit(boost::none);
  }
  void on_request_impl(beast_http::verb, Text, Text, int, beast_error&) override {}
  void on_response_impl(int, Text, int, beast_error&) override {}
  void on_field_impl(beast_http::field, Text, Text, beast_error&) override {}
  void on_header_impl(beast_error&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, beast_error&) override {}
  std::size_t on_body_impl(Text body, beast_error&) override { return body.size(); }
  void on_chunk_header_impl(std::uint64_t, Text, beast_error&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, Text body, beast_error&) override {
    return body.size();
  }
  void on_finish_impl(beast_error&) override {}
};

/// Keeps what a head says.
template <bool is_request>
class HeadReader : public Reader<is_request> {
 public:
  std::string_view method;
  std::string_view target;
  int status = 0;
  std::string_view reason;
  int minor = 0;
  Fields fields;

 private:
  using typename Reader<is_request>::Text;

  void on_request_impl(beast_http::verb, Text verb, Text path, int version, beast_error&) override {
    method = view(verb);
    target = view(path);
    minor = version - 10;
  }
  void on_response_impl(int code, Text phrase, int version, beast_error&) override {
    status = code;
    reason = view(phrase);
    minor = version - 10;
  }
  void on_field_impl(beast_http::field, Text name, Text value, beast_error& error) override {
    if (!fields.push_back({view(name), view(value)})) error = beast_http::error::header_limit;
  }
};

/// Keeps where in its chunk a body is.
class ChunkReader : public Reader<false> {
 public:
  std::string_view extension;   ///< of the chunk whose size was read last
  std::uint64_t data_left = 0;  ///< of that chunk; 0 where a size, or the last chunk, is to come

 private:
  void on_chunk_header_impl(std::uint64_t size, Text of_chunk, beast_error&) override {
    extension = view(of_chunk);
    data_left = size;
  }
  std::size_t on_chunk_body_impl(std::uint64_t left, Text body, beast_error&) override {
    data_left = left - body.size();
    return body.size();
  }
};

}  // namespace gpuward::http
