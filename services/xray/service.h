#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "xray/multipart.h"
#include "xray/stages.h"
#include "xray/work.h"

namespace gpuward::xray {

/// One HTTP request, as far as the service looks at it. Owns its body.
struct Request {
  std::string method;
  std::string path;  ///< without the query
  std::string content_type;
  std::string accept_language;
  std::string nonce;        ///< of the header X-Film-Nonce
  bool asks_fault = false;  ///< the header X-Film-Fault says yes
  std::string body;
};

struct Answer {
  unsigned status = 200;
  std::string content_type = "application/json; charset=utf-8";
  std::string body{};
  std::string language{};            ///< for Content-Language; empty: none
  std::string allow{};               ///< for Allow with 405; empty: none
  unsigned retry_after_seconds = 0;  ///< 0: none
};

/// What the service does, apart from HTTP. A request for films waits in a bounded queue for one of
/// `concurrency` threads; its films are done one after the other, so a request is one slot.
class Service {
 public:
  using Done = std::function<void(Answer)>;

  /// @p gpu null with --no-gpu.
  Service(const Options& options, std::unique_ptr<Gpu> gpu);
  /// Takes the model's memory; 503 when it does not fit.
  Outcome<void> load();
  ~Service();

  static bool is_analyze(const Request& request);
  /// Everything but films. Any thread, never blocks.
  Answer answer(const Request& request) const;
  /// @p done is called exactly once, from a thread of the service or at once when refused.
  void analyze(Request request, std::stop_token cancel, Done done);

  /// Collects ended children; call when SIGCHLD came.
  void collect() { leftovers_.collect(); }
  /// Cancels what runs and waits until the threads are through, at most @p limit: a hung job never
  /// is.
  bool stop(std::chrono::milliseconds limit);

 private:
  struct Waiting {
    Request request;
    std::stop_token cancel;
    Done done;
  };
  struct Film {
    std::string_view content;
    std::string nonce;
  };

  void work(const std::stop_token& stop);
  Answer run(const Waiting& waiting, const std::stop_token& stop);
  Answer run_films(const std::vector<Film>& films, const Waiting& waiting,
                   const std::stop_token& stop);
  JobResult run_job(const Job& job, const std::stop_token& cancel);
  Outcome<std::vector<Film>> films_of(const Request& request) const;
  void haunt();
  Answer health() const;
  Answer config() const;

  const Options& options_;
  std::unique_ptr<Gpu> gpu_;
  DeviceMemory model_;
  Leftovers leftovers_;
  std::atomic<std::uint64_t> jobs_{0}, done_{0}, failed_{0};
  std::atomic<bool> ghost_{false};
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Waiting> waiting_;
  unsigned running_ = 0;
  std::vector<std::jthread> threads_;
};

/// {"error": {"status", "code", "reason", numbers...}}
Answer problem_answer(const Problem& problem);

}  // namespace gpuward::xray
