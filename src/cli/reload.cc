#include "cli/reload.h"

#include <boost/json.hpp>
#include <cstdio>

#include "base/utf8.h"
#include "cli/terminal.h"
#include "cli/warden_client.h"
#include "domain/exit_code.h"
#include "os/clock.h"

namespace gpuward::cli {
namespace {

namespace json = boost::json;

constexpr auto kAnswerWithin = std::chrono::seconds(30);  // names of users may be asked for

const char* kind_name(ServiceChange::Kind kind) {
  if (kind == ServiceChange::Kind::added) return "added";
  return kind == ServiceChange::Kind::removed ? "removed" : "changed";
}

void print_json(const WardenAnswer& answer) {
  json::array changes;
  for (const auto& change : answer.changes) {
    json::array fields;
    for (const auto& field : change.fields)
      fields.push_back({{"field", field.field},
                        {"from", field.from},
                        {"to", field.to},
                        {"effect", field.effect == Effect::live ? "live" : "restart"}});
    changes.push_back({{"service", change.service},
                       {"kind", kind_name(change.kind)},
                       {"runs", change.runs},
                       {"waits_for_restart", change.stale},
                       {"fields", std::move(fields)}});
  }
  std::printf("%s\n",
              printable(json::serialize(json::object{{"changes", std::move(changes)}})).c_str());
}

void print_change(const ServiceChange& change, bool done) {
  const char* name = change.service.c_str();
  if (change.kind == ServiceChange::Kind::added) {
    std::printf("%s: %s\n", name, done ? "added" : "would be added");
  } else if (change.kind == ServiceChange::Kind::removed) {
    std::printf("%s: is in no file any more%s%s\n", name,
                change.runs ? "; it runs on until: gpuward stop " : "", change.runs ? name : "");
  } else {
    std::printf("%s:\n", name);
    Table table({"  FIELD", "FROM", "TO", ""});
    for (const auto& field : change.fields)
      table.row({"  " + field.field, shortened(printable(field.from), 40),
                 shortened(printable(field.to), 40),
                 field.effect == Effect::live ? "holds at once" : "needs a new process"});
    if (!change.fields.empty()) std::fputs(table.text().c_str(), stdout);
    if (change.stale)
      std::printf("  its process is of an older version: gpuward restart %s\n", name);
  }
}

int ask(WardenRequest::What what, bool as_json) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  auto channel = connect_warden(*home);
  if (!channel) {
    std::fputs("gpuward: no warden runs here\nrun: gpuward up\n", stderr);
    return kNoWarden;
  }
  WardenRequest request;
  request.what = what;
  auto answer = ask_warden(*channel, request, os::now() + kAnswerWithin);
  if (!answer) return complain(answer.error());
  if (!answer->error.empty()) {
    std::fprintf(stderr, "%s\n", answer->error.c_str());
    return answer->exit_code;
  }
  const bool done = what == WardenRequest::What::reload;
  if (as_json) print_json(*answer);
  if (!as_json)
    for (const auto& change : answer->changes) print_change(change, done);
  if (!as_json && answer->changes.empty()) std::printf("nothing has changed\n");
  for (const auto& outcome : answer->outcomes)
    std::fprintf(stderr, "gpuward: %s: %s\n", outcome.service.c_str(), outcome.text.c_str());
  if (!as_json)
    std::printf("%s\n",
                paint(Tone::faint, done ? "next: gpuward status" : "next: gpuward reload").c_str());
  return answer->exit_code;
}

}  // namespace

int plan(bool json) {
  return ask(WardenRequest::What::plan, json);
}

int reload(bool json) {
  return ask(WardenRequest::What::reload, json);
}

}  // namespace gpuward::cli
