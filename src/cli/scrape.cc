#include "cli/scrape.h"

namespace gpuward::cli {
namespace {

const char* reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Bad Request";
  }
}

std::string_view take_word(std::string_view& line) {
  const auto word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size() == line.size() ? word.size() : word.size() + 1);
  return word;
}

bool is_token(std::string_view word) {
  if (word.empty() || word.size() > 20) return false;
  for (const char c : word)
    if (c < 'A' || c > 'Z') return false;
  return true;
}

ScrapeVerdict judge_line(std::string_view line) {
  const auto method = take_word(line);
  const auto target = take_word(line);
  if (!is_token(method) || !target.starts_with('/')) return {400, false};
  if (!line.starts_with("HTTP/")) return {400, false};
  if (line != "HTTP/1.1" && line != "HTTP/1.0") return {505, false};
  if (target.substr(0, target.find('?')) != "/metrics") return {404, method == "HEAD"};
  if (method != "GET" && method != "HEAD") return {405, false};
  return {200, method == "HEAD"};
}

}  // namespace

std::optional<ScrapeVerdict> judge_scrape(std::string_view received) {
  // Empty lines before a request are to be passed over (RFC 9112, 2.2).
  while (received.starts_with("\r\n")) received.remove_prefix(2);
  const auto end = received.find("\r\n\r\n");
  if (end == std::string_view::npos)
    return received.size() >= kLongestRequest ? std::optional(ScrapeVerdict{431, false})
                                              : std::nullopt;
  return judge_line(received.substr(0, received.find("\r\n")));
}

std::string scrape_answer(const ScrapeVerdict& verdict, std::string_view body) {
  const std::string status = std::to_string(verdict.status) + " " + reason_of(verdict.status);
  const std::string own = status + "\n";
  if (verdict.status != 200) body = own;
  std::string answer = "HTTP/1.1 " + status + "\r\nContent-Type: text/plain; " +
                       (verdict.status == 200 ? "version=0.0.4; " : "") +
                       "charset=utf-8\r\nContent-Length: " + std::to_string(body.size()) +
                       "\r\nConnection: close\r\n" +
                       (verdict.status == 405 ? "Allow: GET, HEAD\r\n" : "") + "\r\n";
  if (!verdict.head_only) answer += body;
  return answer;
}

}  // namespace gpuward::cli
