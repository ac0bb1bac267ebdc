#include "cli/incidents.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <utility>

#include "base/utf8.h"
#include "cli/terminal.h"

namespace gpuward::cli {
namespace {

constexpr std::size_t kMostLines = 10;

std::string card_of(const StatusReport& report, const CardIncident& incident) {
  const auto& devices = report.gpu.devices;
  const auto at = std::ranges::find(devices, incident.gpu_uuid, &GpuDevice::uuid);
  if (at != devices.end()) return "GPU " + std::to_string(at->index);
  return incident.pci.empty() ? "a GPU" : "GPU at " + incident.pci;
}

std::string text_of(const StatusReport& report, const CardIncident& incident) {
  std::string text = card_of(report, incident) + ": " + printable(incident.sentence);
  const auto ago = std::chrono::seconds(static_cast<std::int64_t>(incident.age_seconds));
  text += " (" + to_string(ago) + " ago";
  if (incident.times > 1) text += ", " + std::to_string(incident.times) + " times";
  return text + ")";
}

}  // namespace

void print_incidents(const StatusReport& report) {
  std::set<std::pair<std::string, std::uint32_t>> told;
  for (const auto& incident : report.incidents) {
    if (told.size() >= kMostLines) break;
    if (!told.emplace(incident.pci + incident.service, incident.xid).second) continue;
    const auto tone = incident.consequence == CardConsequence::quarantine ? Tone::bad : Tone::warn;
    std::printf("%s\n", paint(tone, text_of(report, incident)).c_str());
  }
  if (!report.kernel_log || report.gpu.devices.empty()) return;
  const auto note = describe(*report.kernel_log);
  if (!note.empty()) std::printf("%s\n", note.c_str());
}

}  // namespace gpuward::cli
