#include "gateway/answers.h"

#include <algorithm>
#include <boost/json.hpp>

namespace gpuward::gateway {
namespace {

std::string_view phrase(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    default:
      return "Error";
  }
}

std::string json_of(const OwnAnswer& answer, std::string_view request_id) {
  boost::json::object error;
  error["reason"] = answer.reason;
  error["message"] = answer.message;
  if (answer.retry_after.count() > 0) error["retry_after_seconds"] = answer.retry_after.count();
  error["request_id"] = request_id;
  boost::json::object whole;
  whole["error"] = std::move(error);
  return boost::json::serialize(whole) + "\n";
}

std::string escaped(std::string_view text) {
  std::string html;
  for (const char c : text) {
    if (c == '<')
      html += "&lt;";
    else if (c == '>')
      html += "&gt;";
    else if (c == '&')
      html += "&amp;";
    else
      html += c;
  }
  return html;
}

std::string page_of(const OwnAnswer& answer) {
  std::string page = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">";
  if (answer.retry_after.count() > 0)
    page += "<meta http-equiv=\"refresh\" content=\"" +
            std::to_string(std::min<std::int64_t>(answer.retry_after.count(), 30)) + "\">";
  page += "<title>" + std::string(phrase(answer.status)) +
          "</title><body style=\"font-family:sans-serif;margin:4em auto;max-width:36em\"><p>" +
          escaped(answer.message) + "</p>";
  if (answer.retry_after.count() > 0) page += "<p>This page asks again by itself.</p>";
  return page + "</body></html>\n";
}

}  // namespace

OwnAnswer own_answer(const gpuward::Refusal& refusal) {
  return {.status = http_status(refusal.reason),
          .reason = name(refusal.reason),
          .message = describe(refusal),
          .retry_after = refusal.retry_after};
}

OwnAnswer own_answer(const http::Refusal& refusal) {
  return {.status = refusal.status, .reason = "bad_request", .message = std::string(refusal.why)};
}

OwnAnswer loading(std::string_view service, std::optional<Duration> eta) {
  OwnAnswer answer{.status = 503,
                   .reason = "loading",
                   .message = std::string(service) + " is starting",
                   .retry_after = std::chrono::seconds(2)};
  if (eta) {
    answer.message += ": ready in about " + to_string(*eta);
    answer.retry_after =
        std::max(std::chrono::ceil<std::chrono::seconds>(*eta), std::chrono::seconds(1));
  }
  answer.message += ".";
  return answer;
}

std::string write_answer(const OwnAnswer& answer, const AnswerStyle& style) {
  const std::string body = style.page ? page_of(answer) : json_of(answer, style.request_id);
  std::string out = "HTTP/1.1 " + std::to_string(answer.status) + " ";
  out.append(phrase(answer.status)).append("\r\nContent-Type: ");
  out.append(style.page ? "text/html; charset=utf-8" : "application/json");
  out.append("\r\nContent-Length: ").append(std::to_string(body.size()));
  out.append("\r\nCache-Control: no-store\r\n");
  if (answer.retry_after.count() > 0)
    out.append("Retry-After: ").append(std::to_string(answer.retry_after.count())).append("\r\n");
  if (!style.request_id.empty())
    out.append("X-Request-Id: ").append(style.request_id).append("\r\n");
  if (style.persistence == http::Persistence::close)
    out.append("Connection: close\r\n");
  else if (style.persistence == http::Persistence::keep_alive)
    out.append("Connection: keep-alive\r\n");
  out.append("\r\n");
  if (!style.head_only) out.append(body);
  return out;
}

}  // namespace gpuward::gateway
