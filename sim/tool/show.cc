#include <cstdio>
#include <vector>

#include "base/units.h"
#include "tool/commands.h"

namespace gpuward::gpusim::tool {
namespace {

struct Card {
  DeviceValue value;
  unsigned busy;
  std::vector<LiveRow> rows;
};

/// A Card is large; one is enough.
const Card& read_card(Session& session, unsigned index) {
  static Card card;
  card.rows = session.sweep(index);
  session.look(index, [](const DeviceValue& value) {
    card.value = value;
    return 0;
  });
  card.busy = busy_percent(card.value);
  return card;
}

const char* state_of(const DeviceEntry& device) {
  const std::uint32_t flags = device.flags.load();
  if ((flags & kOffTheBus) != 0) return "off the bus";
  if ((flags & kResetRequired) != 0) return "reset required";
  return (flags & kThrottled) != 0 ? "throttled" : "ok";
}

const char* state_of(const Session& session, const ContextValue& context) {
  if ((context.flags & kRowless) != 0) return context.returns_at == 0 ? "held by a child" : "ended";
  if ((context.flags & kLost) != 0) return "lost";
  if ((context.flags & (kMovingOut | kMovingIn)) != 0) return "moving";
  if ((context.flags & kParked) != 0) return "checkpointed";
  const SlotEntry& slot = session.state().slots[context.slot];
  if (slot.sticky.load() != 0) return "poisoned";
  return slot.gate.load() == 0 ? "running" : "locked";
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      out += code;
    } else {
      out += c;
    }
  }
  return out + '"';
}

/// Builds "{...}" and "[...]" without caring for commas.
class Json {
 public:
  Json& open(char bracket) {
    comma();
    text_ += bracket;
    fresh_ = true;
    return *this;
  }
  Json& close(char bracket) {
    text_ += bracket;
    fresh_ = false;
    return *this;
  }
  Json& key(std::string_view name) {
    comma();
    text_ += quoted(name) + ": ";
    fresh_ = true;
    return *this;
  }
  void put(std::string_view name, std::string_view value) { key(name).raw(quoted(value)); }
  void put(std::string_view name, const char* value) { put(name, std::string_view(value)); }
  void put(std::string_view name, std::uint64_t value) { key(name).raw(std::to_string(value)); }
  void put_signed(std::string_view name, std::int64_t value) {
    key(name).raw(std::to_string(value));
  }
  Json& raw(const std::string& value) {
    comma();
    text_ += value;
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  void comma() {
    if (!fresh_) text_ += ", ";
    fresh_ = false;
  }
  std::string text_;
  bool fresh_ = true;
};

pid_t pid_of(const Card& card, const ContextValue& context) {
  for (const LiveRow& row : card.rows) {
    if (row.context.slot == context.slot && row.context.id == context.id) return row.pid;
  }
  return 0;
}

void put_context(Json& json, Session& session, const Card& card, const ContextValue& context) {
  json.open('{');
  pid_t pid = pid_of(card, context);
  if (pid == 0 && (context.flags & kRowless) == 0) session.is_alive(context.slot, &pid);
  json.put_signed("pid", pid);
  json.put("slot", context.slot);
  json.put("instance", context.instance);
  json.put("state", state_of(session, context));
  json.put("memory_bytes", context.memory_bytes);
  json.put("host_bytes", context.host_bytes);
  json.put("busy_ns", context.busy_ns);
  json.put("executed_ns", context.executed_ns);
  json.put("pending_ns", context.submitted_ns - context.executed_ns);
  json.close('}');
}

void put_card(Json& json, Session& session, unsigned index) {
  const Card& card = read_card(session, index);
  const DeviceEntry& device = session.state().devices[index];
  json.open('{');
  json.put("index", index);
  json.put("uuid", device.uuid);
  json.put("name", device.name);
  json.put("state", state_of(device));
  json.put("memory_total_bytes", card.value.total_bytes);
  json.put("memory_reserved_bytes", card.value.reserved_bytes);
  json.put("memory_used_bytes", used_bytes(card.value));
  json.put("memory_free_bytes", free_bytes(card.value));
  json.put("foreign_bytes", card.value.foreign_bytes);
  json.put("phantom_bytes", card.value.phantom_bytes);
  json.put("mig_instances", device.instances);
  const HealthEntry& health = session.state().health[index];
  json.put("ecc_uncorrected", health.ecc_uncorrected.load());
  json.put_signed("recovery_action", health.recovery_action.load());
  json.put("busy_percent", card.busy);
  json.put("busy_ns", card.value.busy_ns);
  json.put("rate_permille", card.value.rate_permille);
  if (card.value.return_delay_ns == kNever) {
    json.key("return_delay_seconds").raw("null");
  } else {
    char seconds[40];
    std::snprintf(seconds, sizeof seconds, "%.6f",
                  static_cast<double>(card.value.return_delay_ns) / 1e9);
    json.key("return_delay_seconds").raw(seconds);
  }
  json.key("contexts").open('[');
  for (std::uint32_t i = 0; i < card.value.context_count; ++i) {
    put_context(json, session, card, card.value.contexts[i]);
  }
  json.close(']').close('}');
}

unsigned count_participants(const Session& session) {
  unsigned count = 0;
  for (unsigned slot = 0; slot < kMaxSlots; ++slot) {
    if (slot == session.slot() || (session.state().slots[slot].owner.load() & 1) == 0) continue;
    count += session.is_alive(slot) ? 1 : 0;
  }
  return count;
}

}  // namespace

std::string show_json(Session& session, const std::string& path) {
  Json json;
  json.open('{');
  json.put("state", path);
  json.put("participants", count_participants(session));
  json.put("flags", session.state().header.flags.load());
  json.put("stride", session.state().header.stride.load());
  json.key("faults").open('[');
  for (const FaultEntry& fault : session.state().faults) {
    if (fault.kind.load() == kNoFault) continue;
    json.open('{');
    json.put("function", fault.function);
    json.put("kind", fault.kind.load() == kHang ? "hang" : "code");
    json.put_signed("code", fault.code);
    json.put_signed("gpu", fault.device);
    const std::uint32_t left = fault.times_left.load();
    if (left == kAlways) {
      json.key("times_left").raw("null");
    } else {
      json.put("times_left", left);
    }
    json.close('}');
  }
  json.close(']').key("gpus").open('[');
  for (unsigned index = 0; index < session.device_count(); ++index) put_card(json, session, index);
  json.close(']').close('}');
  return json.text() + '\n';
}

std::string show_table(Session& session) {
  std::string out;
  char line[256];
  for (unsigned index = 0; index < session.device_count(); ++index) {
    const Card& card = read_card(session, index);
    const DeviceEntry& device = session.state().devices[index];
    std::snprintf(line, sizeof line, "GPU %u  %s  %s  %s\n  memory %s of %s used, busy %u %%\n",
                  index, device.name, device.uuid, state_of(device),
                  to_string(Bytes{used_bytes(card.value)}).c_str(),
                  to_string(Bytes{card.value.total_bytes}).c_str(), card.busy);
    out += line;
    if (card.value.context_count > 0) out += "      PID  STATE            MEMORY      GPU TIME\n";
    for (std::uint32_t i = 0; i < card.value.context_count; ++i) {
      const ContextValue& context = card.value.contexts[i];
      pid_t pid = pid_of(card, context);
      if (pid == 0 && (context.flags & kRowless) == 0) session.is_alive(context.slot, &pid);
      std::snprintf(line, sizeof line, "  %7d  %-15s  %-10s  %s\n", pid, state_of(session, context),
                    to_string(Bytes{context.memory_bytes}).c_str(),
                    to_string(std::chrono::nanoseconds(context.busy_ns)).c_str());
      out += line;
    }
  }
  out += "next: gpusim fault --help\n";
  return out;
}

}  // namespace gpuward::gpusim::tool
