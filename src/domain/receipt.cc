#include "domain/receipt.h"

#include "base/units.h"
#include "base/utf8.h"

namespace gpuward {

namespace {

std::string describe_container(const Receipt& receipt) {
  if (receipt.container.empty()) return {};
  const std::string name = "; container " + short_id(receipt.container);
  switch (receipt.container_proof) {
    case ContainerProof::empty:
      return name + " empty";
    case ContainerProof::ended:
      return name + " ended, says its engine";
    case ContainerProof::left:
      return name + " LEFT";
    default:
      return name + " NOT proven empty";
  }
}

// "pid 77 (worker), pid 78 (sh) and 3 more".
std::string names_of(const HandOver& released) {
  std::string text;
  for (const auto& process : released.list)
    text += (text.empty() ? "pid " : ", pid ") + std::to_string(process.id.pid.number) + " (" +
            printable(process.name.view()) + ")";
  if (released.more != 0) text += " and " + std::to_string(released.more) + " more";
  return text;
}

std::string describe_given_up(const HandOver& released) {
  const auto count = released.list.size() + released.more;
  return "handed over, none was touched: " + std::to_string(count) +
         (count == 1 ? " process: " : " processes: ") + names_of(released) +
         (released.trouble.empty() ? "" : "; " + std::string(released.trouble.view()));
}

}  // namespace

std::string describe(const Receipt& receipt, bool looked) {
  if (receipt.released.all) return describe_given_up(receipt.released);
  std::string line = "ended " + std::to_string(receipt.processes_ended) +
                     (receipt.processes_ended == 1 ? " process in " : " processes in ") +
                     to_string(std::chrono::nanoseconds(receipt.duration));
  if (receipt.forced) line += " (KILL was needed)";
  line += receipt.survivors.empty() ? ", none left"
                                    : ", " + std::to_string(receipt.survivors.size()) + " LEFT";
  if (receipt.only_seen) line += " of those seen";
  line += describe_container(receipt);
  switch (receipt.memory) {
    case MemoryProof::returned:
      line += "; GPU memory back: " + to_string(receipt.gpu_bytes_returned);
      break;
    case MemoryProof::none:
      line += "; it held no GPU memory";
      break;
    case MemoryProof::not_visible:
      line += looked ? "; GPU memory cannot be seen here" : "; GPU memory was not looked at";
      break;
    case MemoryProof::held:
      line += "; GPU memory NOT back in time";
      break;
  }
  for (const auto port : receipt.ports_freed) line += "; port " + std::to_string(port) + " free";
  for (const auto port : receipt.ports_held)
    line += "; port " + std::to_string(port) + " taken by another program";
  if (!receipt.released.list.empty()) line += "; handed over: " + names_of(receipt.released);
  if (!receipt.released.trouble.empty())
    line += "; NOT as promised: " + std::string(receipt.released.trouble.view());
  if (receipt.ports_unknown) line += "; it may have had more ports, too many to look through";
  return line;
}

std::string describe(const Survivor& survivor) {
  std::string text = "pid " + std::to_string(survivor.pid.number) + " (" +
                     printable(survivor.name.view()) +
                     (survivor.in_container ? ") in its container, state " : "), state ") +
                     static_cast<char>(survivor.state);
  if (!survivor.wchan.empty()) text += ", waits in " + printable(survivor.wchan.view());
  if (survivor.killed_for.count() > 0)
    text += ", KILL was sent " + to_string(survivor.killed_for) + " ago";
  return text;
}

std::string describe_survivors(const Receipt& receipt) {
  std::string text;
  for (const auto& survivor : receipt.survivors)
    text += (text.empty() ? "" : "; ") + describe(survivor);
  if (receipt.survivors.dropped() != 0)
    text += "; and " + std::to_string(receipt.survivors.dropped()) + " more";
  return text;
}

}  // namespace gpuward
