#include "xray/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>

namespace gpuward::xray {
namespace {

using Nanoseconds = std::chrono::nanoseconds;

void add_bytes(CLI::App& app, const std::string& name, Bytes& value, const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [&value, name](const std::string& text) {
           const auto bytes = parse_bytes(text);
           if (!bytes) throw CLI::ValidationError(name, "wants a size with a unit, as 1GiB");
           value = *bytes;
         },
         help)
      ->default_str(to_string(value));
}

void add_duration(CLI::App& app, const std::string& name, Nanoseconds& value,
                  const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [&value, name](const std::string& text) {
           const auto duration = parse_fine_duration(text);
           if (!duration) throw CLI::ValidationError(name, "wants a time with a unit, as 1.13ms");
           value = *duration;
         },
         help)
      ->default_str(std::to_string(value.count()) + "ns");
}

// "127.0.0.1:7860", "[::1]:7860" or ":7860"
void take_listen(Options& options, const std::string& text) {
  const auto colon = text.rfind(':');
  unsigned port = 0;
  const char* end = text.data() + text.size();
  const bool valid = colon != std::string::npos &&
                     std::from_chars(text.data() + colon + 1, end, port).ptr == end &&
                     colon + 1 < text.size() && port <= 65535;
  if (!valid) throw CLI::ValidationError("--listen", "wants ADDRESS:PORT, as 127.0.0.1:7860");
  options.port = static_cast<std::uint16_t>(port);
  auto host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (!host.empty()) options.host = host;
}

void add_serving(CLI::App& app, Options& options) {
  app.add_option_function<std::string>(
         "--listen", [&options](const std::string& text) { take_listen(options, text); },
         "numeric address and port; port 0 takes a free one")
      ->default_str("127.0.0.1:7860");
  app.add_option("--port", options.port, "port alone");
  app.add_option("--workers", options.workers, "where the stages run: inline or process")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Workers>{
          {"inline", Workers::in_process}, {"process", Workers::processes}}));
  app.add_option("--concurrency", options.concurrency, "jobs at a time")->check(CLI::Range(1, 256));
  app.add_option("--queue", options.queue, "requests that may wait")->check(CLI::Range(0, 65536));
  add_bytes(app, "--max-upload", options.max_upload, "largest request body");
  app.add_option_function<double>(
         "--max-megapixels",
         [&options](double value) {
           if (!(value > 0 && value <= 1024))
             throw CLI::ValidationError("--max-megapixels", "wants a number up to 1024");
           options.max_pixels = static_cast<std::uint64_t>(std::llround(value * 1e6));
         },
         "largest film")
      ->default_str("64");
  add_duration(app, "--load-time", options.load_time,
               "wait before listening, as a large model does");
  add_duration(app, "--job-timeout", options.job_timeout, "answer 504 after this long; 0 = never");
}

void add_work(CLI::App& app, Options& options) {
  app.add_flag("--no-gpu", options.no_gpu, "work without a GPU: infer only waits");
  app.add_option("--cuda-wait", options.wait,
                 "how the CPU waits for the card: auto, spin, yield, blocking")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, cuda::Wait>{{"auto", cuda::Wait::automatic},
                                            {"spin", cuda::Wait::spin},
                                            {"yield", cuda::Wait::yield},
                                            {"blocking", cuda::Wait::blocking}}));
  add_bytes(app, "--model-memory", options.model_memory, "device memory taken at load");
  add_bytes(app, "--request-memory-per-megapixel", options.request_memory_per_megapixel,
            "device memory of a job");
  app.add_option("--kernels", options.tokens.kernels, "kernels a film")
      ->check(CLI::Range(0, 1000000));
  add_duration(app, "--kernel-time", options.tokens.kernel_time, "duration of one kernel");
  app.add_option("--launch-ahead", options.tokens.launch_ahead, "kernels launched before each wait")
      ->check(CLI::Range(1, 1024));
  add_duration(app, "--pre-cpu", options.pre_cpu, "extra CPU time of the decode stage");
  add_duration(app, "--post-cpu", options.post_cpu, "extra CPU time of the report stage");
}

void add_faults(CLI::App& app, Options& options) {
  app.add_option("--fault", options.fault_text,
                 "KIND:P[,KIND:P...] with hang, leak, linger, crash, ghost, stubborn");
  app.add_option("--seed", options.seed, "of the faults");
  app.add_flag("--fault-on-request", options.fault_on_request,
               "draw faults only for requests with the header X-Film-Fault: yes");
  add_bytes(app, "--linger-memory", options.linger_memory,
            "device memory a lingering child holds; 0 = the request's");
  app.add_option_function<std::string>(
         "--ghost-answer",
         [&options](const std::string& text) { options.ghost_hangs = text == "hang"; },
         "what a ghost does with films: error or hang")
      ->check(CLI::IsMember({"error", "hang"}));
}

// What the service says to its own children; not for people.
void add_stage(CLI::App& app, Options& options) {
  app.add_option("--stage", options.stage)
      ->transform(CLI::CheckedTransformer(std::map<std::string, Stage>{
          {"decode", Stage::decode}, {"infer", Stage::infer}, {"report", Stage::report}}))
      ->group("");
  app.add_option("--job", options.job)->group("");
  app.add_option("--pixels", options.pixels)->group("");
  app.add_option("--max-pixels", options.max_pixels)->group("");
  app.add_option("--act", options.act)->group("");
  app.add_flag("--stubborn", options.stubborn)->group("");
}

// Faults that are about children make no sense without them.
void check(const Options& options) {
  if (options.workers == Workers::processes || options.stage != Stage::none) return;
  if (options.faults.probability(Fault::linger) > 0)
    throw CLI::ValidationError("--fault", "linger needs --workers process");
}

}  // namespace

std::string_view name_of(Stage stage) {
  switch (stage) {
    case Stage::none:
      return "service";
    case Stage::decode:
      return "decode";
    case Stage::infer:
      return "infer";
    case Stage::report:
      return "report";
  }
  return "unknown";
}

Bytes Options::request_memory(std::uint64_t film_pixels) const {
  const double megapixels = static_cast<double>(film_pixels) / 1e6;
  return {static_cast<std::uint64_t>(
      std::llround(megapixels * static_cast<double>(request_memory_per_megapixel.count)))};
}

std::optional<std::chrono::nanoseconds> parse_fine_duration(std::string_view text) {
  double value = 0;
  const auto [end, code] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (code != std::errc{} || !(value >= 0)) return std::nullopt;
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  double scale = 0;
  if (unit == "ns") scale = 1;
  if (unit == "us") scale = 1e3;
  if (unit == "ms") scale = 1e6;
  if (unit == "s") scale = 1e9;
  if (unit == "min") scale = 60e9;
  if (scale == 0 || value * scale > 86400e9) return std::nullopt;
  return std::chrono::nanoseconds(std::llround(value * scale));
}

std::variant<Options, int> parse_options(int argc, char** argv) {
  Options options;
  CLI::App app{"gpuward-xray: a chest-film service that demonstrates serving. No diagnosis."};
  app.set_version_flag("--version", std::string("gpuward-xray " GPUWARD_VERSION));
  add_serving(app, options);
  add_work(app, options);
  add_faults(app, options);
  add_stage(app, options);
  try {
    app.parse(argc, argv);
    auto plan = FaultPlan::parse(options.fault_text, options.seed);
    if (!plan) throw CLI::ValidationError("--fault", std::string(plan.error().doing.view()));
    options.faults = *plan;
    check(options);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  return options;
}

}  // namespace gpuward::xray
