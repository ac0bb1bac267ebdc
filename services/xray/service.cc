#include "xray/service.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <exception>
#include <utility>

#include "xray/bytes.h"
#include "xray/json_text.h"
#include "xray/page.h"
#include "xray/report.h"

namespace gpuward::xray {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxNonce = 128;

json::object error_object(const Problem& problem) {
  json::object error{
      {"status", problem.status}, {"code", problem.code}, {"reason", problem.reason}};
  for (const auto& [name, value] : problem.numbers) error[name] = value;
  return error;
}

// A nonce is echoed, so it is printable ASCII and short.
Outcome<void> check_nonce(std::string_view nonce) {
  const bool printable = std::ranges::all_of(nonce, [](char c) { return c > 0x20 && c < 0x7F; });
  if (printable && nonce.size() <= kMaxNonce) return {};
  return refuse(400, "bad_nonce", "a nonce is at most 128 printable characters without blanks");
}

double seconds(double value) {
  return std::round(value * 1e6) / 1e6;
}

std::string log_text(const Job& job, const JobResult& result, unsigned status) {
  std::array<char, 240> text{};
  std::snprintf(text.data(), text.size(),
                "job=%llu bytes=%zu pixels=%llu status=%u decode=%.3fs infer=%.3fs report=%.3fs",
                static_cast<unsigned long long>(job.number), job.film.size(),
                static_cast<unsigned long long>(result.pixels), status, result.decode_seconds,
                result.infer_seconds, result.report_seconds);
  return text.data();
}

// What the operator must see beside the line of the job, in the words that log watchers know.
void log_problem(const Job& job, const Problem& problem) {
  const auto prefix = "job=" + std::to_string(job.number) + " ";
  if (problem.code == "out_of_memory")
    log_line(prefix + out_of_memory_line(problem));
  else if (problem.status >= 500)
    log_line(prefix + problem.reason);
}

json::object result_object(std::size_t index, const Job& job, const JobResult& result) {
  json::object object{{"index", index}, {"job", job.number}, {"ok", result.report.has_value()}};
  if (result.report) {
    std::error_code code;
    auto report = json::parse(*result.report, code);
    if (!code && report.is_object())
      for (auto& [key, value] : report.as_object()) object[key] = std::move(value);
  } else {
    if (!job.nonce.empty()) object["nonce"] = job.nonce;
    object["error"] = error_object(result.report.error());
  }
  object["timing"] = json::object{{"decode_seconds", seconds(result.decode_seconds)},
                                  {"infer_seconds", seconds(result.infer_seconds)},
                                  {"report_seconds", seconds(result.report_seconds)}};
  return object;
}

}  // namespace

Answer problem_answer(const Problem& problem) {
  Answer answer{.status = problem.status};
  answer.body = json_text(json::object{{"error", error_object(problem)}}) + "\n";
  if (problem.status == 503) answer.retry_after_seconds = 2;
  return answer;
}

Service::Service(const Options& options, std::unique_ptr<Gpu> gpu)
    : options_(options), gpu_(std::move(gpu)) {
  for (unsigned i = 0; i < options.concurrency; ++i)
    threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
}

Service::~Service() {
  stop(std::chrono::hours(1));
}

Outcome<void> Service::load() {
  if (gpu_ == nullptr || options_.model_memory.count == 0) return {};
  auto memory = gpu_->allocate(options_.model_memory);
  if (!memory) return std::unexpected(std::move(memory).error());
  model_ = std::move(*memory);
  return {};
}

bool Service::is_analyze(const Request& request) {
  return request.path == "/analyze" && request.method == "POST";
}

Answer Service::answer(const Request& request) const {
  const bool reads = request.method == "GET" || request.method == "HEAD";
  const bool known = request.path == "/" || request.path == "/config" || request.path == "/health";
  if (!known && request.path != "/analyze")
    return problem_answer({404, "not_found", "there is /, /config, /health and POST /analyze", {}});
  if (!known || !reads) {
    auto answer = problem_answer({405, "wrong_method", "this address takes another method", {}});
    answer.allow = known ? "GET, HEAD" : "POST";
    return answer;
  }
  if (request.path == "/health") return health();
  if (request.path == "/config") return config();
  const auto language = choose_language(request.accept_language);
  Answer page{.content_type = "text/html; charset=utf-8"};
  page.body = language == Language::chinese ? kPageChinese : kPageEnglish;
  page.language = tag_of(language);
  return page;
}

// On purpose as trusting as the article's app: a process that can answer calls itself healthy. What
// became of the GPU context is for others to find out.
Answer Service::health() const {
  const std::scoped_lock lock(mutex_);
  Answer answer;
  answer.body =
      json_text(json::object{{"status", "ok"},
                             {"gpu", gpu_ != nullptr ? json::value(gpu_->name()) : nullptr},
                             {"running", running_},
                             {"waiting", waiting_.size()},
                             {"done", done_.load()},
                             {"failed", failed_.load()}}) +
      "\n";
  return answer;
}

Answer Service::config() const {
  Answer answer;
  const json::object config{
      {"service", "gpuward-xray"},
      {"version", GPUWARD_VERSION},
      {"demonstration", true},
      {"notice", {{"zh-CN", notice(Language::chinese)}, {"en", notice(Language::english)}}},
      {"workers", options_.workers == Workers::in_process ? "inline" : "process"},
      {"concurrency", options_.concurrency},
      {"queue", options_.queue},
      {"formats", {"png", "jpeg", "dicom"}},
      {"max_upload_bytes", options_.max_upload.count},
      {"max_pixels", options_.max_pixels},
      {"model_memory_bytes", options_.model_memory.count},
      {"request_memory_bytes_per_megapixel", options_.request_memory_per_megapixel.count},
      {"kernels", options_.tokens.kernels},
      {"kernel_seconds", std::chrono::duration<double>(options_.tokens.kernel_time).count()},
      {"gpu", gpu_ != nullptr ? json::value(gpu_->name()) : nullptr},
      {"fault", options_.faults.any() ? json::value(options_.fault_text) : nullptr}};
  answer.body = json_text(config) + "\n";
  return answer;
}

void Service::analyze(Request request, std::stop_token cancel, Done done) {
  {
    const std::scoped_lock lock(mutex_);
    // The queue holds what no thread can take at once, so a free thread's request does not count.
    const auto taken = waiting_.size() + running_;
    if (taken < std::size_t{options_.concurrency} + options_.queue) {
      waiting_.push_back({std::move(request), std::move(cancel), std::move(done)});
      changed_.notify_all();
      return;
    }
  }
  done(problem_answer({503,
                       "queue_full",
                       "too many requests are waiting",
                       {{"waiting", options_.queue}, {"limit_waiting", options_.queue}}}));
}

void Service::work(const std::stop_token& stop) {
  while (true) {
    Waiting next;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [&] { return !waiting_.empty(); })) return;
      next = std::move(waiting_.front());
      waiting_.pop_front();
      ++running_;
    }
    Answer answer;
    // Out of memory and OpenCV's complaints are the only exceptions that come this far.
    try {
      answer = run(next, stop);
    } catch (const std::exception& error) {
      log_line(std::string("a request failed: ") + error.what());
      answer = problem_answer({500, "internal", "the service failed on this request", {}});
    }
    {
      const std::scoped_lock lock(mutex_);
      --running_;
    }
    changed_.notify_all();
    next.done(std::move(answer));
  }
}

Answer Service::run(const Waiting& waiting, const std::stop_token& stop) {
  if (waiting.cancel.stop_requested()) return problem_answer(cancelled().error());
  const auto films = films_of(waiting.request);
  if (!films) return problem_answer(films.error());
  return run_films(*films, waiting, stop);
}

Outcome<std::vector<Service::Film>> Service::films_of(const Request& request) const {
  if (auto valid = check_nonce(request.nonce); !valid)
    return std::unexpected(std::move(valid).error());
  if (!request.content_type.starts_with("multipart/")) {
    if (request.body.empty()) return refuse(400, "no_film", "the request holds no film");
    return std::vector<Film>{{request.body, request.nonce}};
  }
  const auto boundary = boundary_of(request.content_type);
  if (!boundary) return std::unexpected(boundary.error());
  const auto parts = parse_multipart(request.body, *boundary);
  if (!parts) return std::unexpected(parts.error());
  std::vector<Film> films;
  std::vector<std::string> nonces;
  for (const auto& part : *parts) {
    if (part.is_file)
      films.push_back({part.content, request.nonce});
    else if (part.name == "nonce")
      nonces.emplace_back(part.content);
  }
  if (films.empty()) return refuse(400, "no_film", "the request holds no film");
  if (nonces.size() > films.size())
    return refuse(400, "bad_nonce", "the request has more nonces than films");
  for (std::size_t i = 0; i < nonces.size(); ++i) {
    if (auto valid = check_nonce(nonces[i]); !valid)
      return std::unexpected(std::move(valid).error());
    films[i].nonce = std::move(nonces[i]);
  }
  return films;
}

// The client's leaving or the service's end, whichever comes first, ends the job.
Answer Service::run_films(const std::vector<Film>& films, const Waiting& waiting,
                          const std::stop_token& stop) {
  std::stop_source both;
  const std::stop_callback on_client(waiting.cancel, [&] { both.request_stop(); });
  const std::stop_callback on_end(stop, [&] { both.request_stop(); });
  const auto language = choose_language(waiting.request.accept_language);
  json::array results;
  unsigned first_problem = 0;
  bool any_good = false;
  bool retry = false;
  for (const auto& film : films) {
    const Job job{++jobs_, as_bytes(film.content), film.nonce, language,
                  !options_.fault_on_request || waiting.request.asks_fault};
    const auto result = run_job(job, both.get_token());
    const unsigned status = result.report ? 200 : result.report.error().status;
    ++(result.report ? done_ : failed_);
    if (!result.report) log_problem(job, result.report.error());
    log_line(log_text(job, result, status));
    any_good |= result.report.has_value();
    retry |= status == 503;
    if (!result.report && first_problem == 0) first_problem = status;
    results.push_back(result_object(results.size(), job, result));
    if (both.stop_requested()) break;
  }
  Answer answer{.status = any_good ? 200 : first_problem};
  answer.language = tag_of(language);
  if (retry && !any_good) answer.retry_after_seconds = 2;
  json::object body{{"service", "gpuward-xray"},
                    {"demonstration", true},
                    {"notice", notice(language)},
                    {"language", tag_of(language)}};
  // One film that failed is told like any other error; among several, each has its own.
  if (!any_good) body["error"] = results[0].as_object()["error"];
  body["results"] = std::move(results);
  answer.body = json_text(body) + "\n";
  return answer;
}

JobResult Service::run_job(const Job& job, const std::stop_token& cancel) {
  if (struck(options_, Fault::ghost, job)) haunt();
  if (ghost_ && options_.ghost_hangs) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, cancel, [] { return false; });
    return {.report = cancelled()};
  }
  if (ghost_)
    return {.report = refuse(500, "cuda_error", "CUDA error: context is destroyed",
                             {{"cuda_status", cuda::kContextIsDestroyed}})};
  if (options_.workers == Workers::processes)
    return run_in_children(job, options_, gpu_.get(), leftovers_, cancel);
  return run_inline(job, options_, gpu_.get(), cancel);
}

// The ghost fault: the context and the model are gone, everything else goes on as if nothing were.
void Service::haunt() {
  if (ghost_.exchange(true)) return;
  if (gpu_ != nullptr) gpu_->destroy_context();
}

bool Service::stop(std::chrono::milliseconds limit) {
  for (auto& thread : threads_) thread.request_stop();
  std::unique_lock lock(mutex_);
  changed_.notify_all();
  return changed_.wait_for(lock, limit, [&] { return running_ == 0; });
}

}  // namespace gpuward::xray
