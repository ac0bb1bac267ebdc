#include "gateway/options.h"

#include <charconv>
#include <cstdlib>
#include <optional>

#include "gateway/plan.h"
#include "os/socket.h"

namespace gpuward::gateway {

const char kHelp[] =
    "gpuward-gateway\n"
    "  serves the sockets that it was handed (LISTEN_FDS): one named as its service each, "
    "'control',\n"
    "  and the file 'plan' that says what stands behind them; gpuward starts it so\n"
    "gpuward-gateway --listen ADDRESS:PORT --to ADDRESS:PORT[,ADDRESS:PORT...]\n"
    "  serves one service by hand; every --to is a replica, taken as ready\n"
    "  --name N               of the service (default: service)\n"
    "  --protocol P           http (default), openai: a stream that ends without [DONE] has failed\n"
    "  --pass PREFIX          what begins so is no job, and goes on at once; may come again\n"
    "  --per-caller N         jobs of one address that may wait (default 100; 0: no limit)\n"
    "  --on-client-gone W     of a job that runs: auto, close or drain (default auto)\n"
    "  --half-close           a client that closes its sending side is still there\n"
    "  --client-lost-after T  without an answer from its network (default 30s)\n"
    "  --patience T           for a client that is waited for (default 30s)\n"
    "  --job-limit T          for one job at a replica (default none)\n"
    "  --largest-body SIZE    of an upload (default 4GiB)\n"
    "--spill FOLDER  where uploads wait, encrypted (default: TMPDIR, else /tmp)\n"
    "--drain T       after TERM, for what is under way (default 30s); a second TERM ends it\n"
    "exit: 0 ended as told, 1 failed, 2 usage\n";

namespace {

using Problem = std::optional<std::string>;

std::string not_a(std::string_view what, std::string_view option, std::string_view value) {
  return std::string(option) + " " + std::string(value) + ": " + std::string(what) + " is expected";
}

Problem read_duration(std::string_view option, std::string_view value,
                      std::chrono::milliseconds& into) {
  const auto read = parse_duration(value);
  if (!read || read->count() <= 0) return not_a("a time such as 30s", option, value);
  into = *read;
  return std::nullopt;
}

Problem read_replicas(std::string_view value, std::vector<DoorReplica>& into) {
  while (true) {
    const auto comma = value.find(',');
    const auto one = value.substr(0, comma);
    if (!os::parse_tcp_address(one)) return not_a("a numeric address", "--to", one);
    into.push_back({.index = static_cast<std::uint32_t>(into.size()),
                    .endpoint = std::string(one),
                    .state = ReplicaState::ready,
                    .card = {}});
    if (comma == std::string_view::npos) return std::nullopt;
    value.remove_prefix(comma + 1);
  }
}

Problem read_model(std::string_view option, std::string_view value, DoorModel& model) {
  if (option == "--protocol") {
    const auto protocol = protocol_named(value);
    if (!protocol || (*protocol != Protocol::http && *protocol != Protocol::openai))
      return not_a("http or openai", option, value);
    model.protocol = *protocol;
  } else if (option == "--pass") {
    if (!value.starts_with('/')) return not_a("a path", option, value);
    model.routes.push_back(
        {.prefix = std::string(value), .job_class = JobClass::interactive, .pass = true});
  } else if (option == "--per-caller") {
    const char* end = value.data() + value.size();
    const auto read = std::from_chars(value.data(), end, model.queue.most_per_caller);
    if (read.ec != std::errc{} || read.ptr != end) return not_a("a number", option, value);
  } else if (option == "--on-client-gone") {
    const auto what = on_client_gone_named(value);
    if (!what) return not_a("auto, close or drain", option, value);
    model.on_client_gone = *what;
  } else if (option == "--client-lost-after") {
    return read_duration(option, value, model.lost_after);
  } else if (option == "--patience") {
    return read_duration(option, value, model.patience);
  } else if (option == "--job-limit") {
    return read_duration(option, value, model.job_limit.emplace());
  } else if (option == "--largest-body") {
    const auto size = parse_bytes(value);
    if (!size) return not_a("a size such as 4GiB", option, value);
    model.largest_body = *size;
  } else {
    return std::string(option) + ": no such option";
  }
  return std::nullopt;
}

Problem read_one(std::string_view option, std::string_view value, Options& options) {
  if (option == "--listen") {
    if (!os::parse_tcp_address(value)) return not_a("a numeric address", option, value);
    options.door.model.listen = value;
    options.by_hand = true;
    return std::nullopt;
  }
  if (option == "--to") return read_replicas(value, options.door.replicas);
  if (option == "--name") {
    options.door.service = value;
    return std::nullopt;
  }
  if (option == "--spill") {
    options.spill_folder = value;
    return std::nullopt;
  }
  if (option == "--drain") {
    std::chrono::milliseconds drain{};
    const auto problem = read_duration(option, value, drain);
    options.drain = drain;
    return problem;
  }
  return read_model(option, value, options.door.model);
}

}  // namespace

std::expected<Options, std::string> read_options(std::span<char* const> arguments) {
  Options options;
  options.door.service = "service";
  const char* folder = std::getenv("TMPDIR");
  options.spill_folder = folder != nullptr && *folder != '\0' ? folder : "/tmp";
  for (std::size_t n = 0; n < arguments.size(); ++n) {
    const std::string_view option = arguments[n];
    if (option == "--help") {
      options.help = true;
      return options;
    }
    if (option == "--half-close") {
      options.door.model.half_close = true;
      continue;
    }
    if (n + 1 == arguments.size())
      return std::unexpected(std::string(option) + ": a value is expected, or no such option");
    if (auto problem = read_one(option, arguments[++n], options))
      return std::unexpected(std::move(*problem));
  }
  if (options.by_hand == options.door.replicas.empty())
    return std::unexpected(std::string("--listen and --to belong together"));
  if (options.by_hand)
    if (auto problem = problem_of(options.door)) return std::unexpected(std::move(*problem));
  return options;
}

}  // namespace gpuward::gateway
