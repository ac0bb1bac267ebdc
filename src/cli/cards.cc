#include "cli/cards.h"

#include <cstdio>
#include <set>

#include "base/utf8.h"
#include "cli/json.h"
#include "cli/service_commands.h"
#include "cli/terminal.h"
#include "cli/user_name.h"
#include "cli/warden_client.h"
#include "control/books.h"
#include "domain/exit_code.h"
#include "os/clock.h"
#include "os/proc_fs.h"

namespace gpuward::cli {
namespace {

constexpr auto kAnswerWithin = std::chrono::seconds(5);

std::string card_text(const CardMark& mark) {
  return "GPU " + std::to_string(mark.index) + " (" + printable(mark.name) + ", " +
         printable(mark.uuid) + ")";
}

// "pid 4711, 4.0 GiB, root: python app.py"
std::string holder_text(const CardHolder& holder, const std::string& passwd) {
  std::string text = "pid " + std::to_string(holder.id.pid.number);
  if (holder.memory) text += ", " + to_string(*holder.memory);
  if (holder.id.start_ticks == 0) return text + ", which cannot be seen here";
  if (const auto uid = os::read_uid(holder.id.pid)) text += ", " + user_name(*uid, passwd);
  if (const auto command = os::read_command(holder.id.pid, 300))
    text += ": " + shortened(*command, 80);
  return text;
}

std::set<std::string> services_on(const CardAnswer& card) {
  std::set<std::string> services;
  for (const auto& holder : card.holders)
    if (!holder.service.empty()) services.insert(holder.service);
  return services;
}

void print_holders(const CardAnswer& card, std::FILE* out) {
  const auto passwd = os::read_file("/etc/passwd", 4 << 20).value_or("");
  if (!card.holders_visible)
    std::fprintf(out, "who is on it cannot be seen from here\n");
  else if (card.holders.empty())
    std::fprintf(out, "nothing is on it\n");
  for (const auto& holder : card.holders)
    std::fprintf(out, "  %s: %s\n",
                 holder.service.empty() ? "stranger, not ended" : holder.service.c_str(),
                 holder_text(holder, passwd).c_str());
}

Result<WardenAnswer> ask(const WardenRequest& request, int* code) {
  const auto home = home_or_complain(code);
  if (!home) return fail(Errc::refused, "find the home");
  auto channel = connect_warden(*home);
  if (!channel) {
    std::fputs("gpuward: no warden runs here\nrun: gpuward up\n", stderr);
    *code = kNoWarden;
    return fail(std::move(channel).error());
  }
  auto answer = ask_warden(*channel, request, os::now() + kAnswerWithin);
  if (!answer) {
    *code = complain(answer.error());
    return answer;
  }
  if (!answer->error.empty())
    std::fprintf(stderr, "gpuward: %s\n", printable(answer->error).c_str());
  *code = answer->exit_code;
  return answer;
}

int set_mark(const WardenRequest& request, const char* done, bool as_json) {
  int code = 0;
  const auto answer = ask(request, &code);
  if (!answer || !answer->card) return code;
  const CardAnswer& card = *answer->card;
  if (as_json) {
    std::fputs(card_json(card, {}).c_str(), stdout);
    return code;
  }
  std::printf("%s: %s\n", card_text(card.mark).c_str(), done);
  print_holders(card, stdout);
  const std::string n = std::to_string(card.mark.index);
  const std::string next = request.what == WardenRequest::What::cordon
                               ? "next: gpuward drain --gpu " + n + "; undo: gpuward uncordon " + n
                               : "next: gpuward status";
  std::printf("%s\n", paint(Tone::faint, next).c_str());
  return code;
}

void print_what_now(const CardAnswer& card, const std::set<std::string>& stopped) {
  const std::string n = std::to_string(card.mark.index);
  if (card.holders.empty() && card.holders_visible)
    std::printf(
        "%s is free. What may be done now: nvidia-smi --gpu-reset -i %s, or, when every card is "
        "drained, a driver update\n",
        card_text(card.mark).c_str(), n.c_str());
  std::string undo = "undo: gpuward uncordon " + n;
  std::string names;
  for (const auto& service : stopped) names += " " + service;
  if (!names.empty()) undo += ", then gpuward start" + names;
  std::printf("%s\n", paint(Tone::faint, undo).c_str());
}

}  // namespace

int cordon(const std::string& gpu, const std::string& why, bool as_json) {
  WardenRequest request;
  request.what = WardenRequest::What::cordon;
  request.gpu = gpu;
  request.note = why;
  return set_mark(request, "cordoned: what is on it runs on, and is not started there again",
                  as_json);
}

int uncordon(const std::string& gpu, bool as_json) {
  WardenRequest request;
  request.what = WardenRequest::What::uncordon;
  request.gpu = gpu;
  return set_mark(request, "free to be used", as_json);
}

int drain(const DrainOptions& options) {
  WardenRequest request;
  request.what = WardenRequest::What::drain_plan;
  request.gpu = options.gpu;
  int code = 0;
  const auto plan = ask(request, &code);
  if (!plan || !plan->card) return code;
  const auto services = services_on(*plan->card);
  if (!options.json || options.dry_run) {
    if (options.json) {
      std::fputs(card_json(*plan->card, {}).c_str(), stdout);
    } else {
      std::printf("on %s:\n", card_text(plan->card->mark).c_str());
      print_holders(*plan->card, stdout);
      std::fflush(stdout);
    }
  }
  if (options.dry_run) return code;
  request.what = WardenRequest::What::drain;
  request.note = options.why;
  request.has_timeout = options.timeout.has_value();
  if (options.timeout) request.timeout = *options.timeout;
  const auto answer = order_and_wait(request, "stopping what is on it", options.json, &code);
  if (!answer || !answer->card) return code;
  if (options.json) {
    std::fputs(card_json(*answer->card, answer->receipts).c_str(), stdout);
    return code;
  }
  if (!answer->card->holders.empty() || !answer->card->holders_visible) {
    std::fprintf(stderr, "gpuward: %s is not free:\n", card_text(answer->card->mark).c_str());
    print_holders(*answer->card, stderr);
  }
  print_what_now(*answer->card, services);
  return code;
}

std::vector<CardMark> kept_marks(const std::string& path) {
  auto book = control::read_book<CardBook>(path);
  return book ? std::move(book->marks) : std::vector<CardMark>{};
}

std::string mark_text(const std::vector<CardMark>& marks, const std::string& uuid) {
  for (const auto& mark : marks) {
    if (mark.uuid != uuid) continue;
    const auto text = printable(describe(mark));
    return text.empty() ? "" : ", " + text;
  }
  return {};
}

}  // namespace gpuward::cli
