#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "domain/job.h"
#include "http/head.h"
#include "http/rewrite.h"

namespace gpuward::gateway {

/// What the gateway says itself, because nobody else will. Nothing of the request is in it.
struct OwnAnswer {
  int status = 503;
  std::string_view reason{};            ///< for programs: "queue_full", "loading"; static
  std::string message{};                ///< for people: one sentence
  std::chrono::seconds retry_after{0};  ///< 0: says nothing of it
};

OwnAnswer own_answer(const gpuward::Refusal& refusal);
OwnAnswer own_answer(const http::Refusal& refusal);
/// No replica is ready. @p eta  until one may be, if that is known.
OwnAnswer loading(std::string_view service, std::optional<Duration> eta);

/// How it is to be said.
struct AnswerStyle {
  bool page = false;  ///< the client is a browser that shows what it gets: HTML, else JSON
  bool head_only = false;
  http::Persistence persistence = http::Persistence::close;
  std::string_view request_id{};
};

/// The whole answer: head and body. A page for which there is a time to retry asks again by itself.
std::string write_answer(const OwnAnswer& answer, const AnswerStyle& style);

}  // namespace gpuward::gateway
