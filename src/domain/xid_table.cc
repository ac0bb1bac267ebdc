#include "domain/xid_table.h"

#include <array>

namespace gpuward {
namespace {

struct Range {
  std::uint32_t first;
  std::uint32_t last;
  XidClass xid_class;
};

// 64 stands under the resets, because that is what comes first; so does 109, see judge_timeout().
constexpr auto kTable = std::to_array<Range>({
    {8, 8, XidClass::app},        {11, 11, XidClass::app},
    {13, 13, XidClass::app},      {25, 25, XidClass::app},
    {31, 32, XidClass::app},      {37, 38, XidClass::info},
    {39, 41, XidClass::app},      {43, 43, XidClass::follow_on},
    {44, 44, XidClass::info},     {45, 45, XidClass::follow_on},
    {46, 46, XidClass::reset},    {48, 48, XidClass::memory},
    {54, 54, XidClass::reboot},   {60, 60, XidClass::app},
    {62, 62, XidClass::reset},    {63, 63, XidClass::memory},
    {64, 64, XidClass::reset},    {66, 67, XidClass::info},
    {68, 72, XidClass::app},      {74, 74, XidClass::link},
    {75, 77, XidClass::app},      {79, 79, XidClass::reboot},
    {80, 80, XidClass::app},      {82, 86, XidClass::app},
    {88, 89, XidClass::app},      {92, 92, XidClass::memory},
    {93, 93, XidClass::info},     {94, 94, XidClass::app_contained},
    {95, 95, XidClass::reset},    {96, 105, XidClass::app},
    {106, 107, XidClass::info},   {109, 110, XidClass::reset},
    {119, 120, XidClass::reset},  {121, 121, XidClass::link},
    {126, 135, XidClass::app},    {136, 136, XidClass::reset},
    {137, 137, XidClass::link},   {139, 139, XidClass::app},
    {140, 140, XidClass::reset},  {141, 141, XidClass::info},
    {143, 143, XidClass::reset},  {144, 150, XidClass::link},
    {151, 151, XidClass::reboot}, {152, 153, XidClass::info},
    {154, 154, XidClass::advice}, {155, 156, XidClass::reset},
    {157, 157, XidClass::memory}, {158, 158, XidClass::reset},
    {160, 165, XidClass::info},   {171, 172, XidClass::memory},
    {173, 173, XidClass::link},
});

}  // namespace

std::string_view to_string(XidClass xid_class) {
  switch (xid_class) {
    case XidClass::unlisted:
      return "unlisted";
    case XidClass::app:
      return "app";
    case XidClass::app_contained:
      return "app-contained";
    case XidClass::follow_on:
      return "follow-on";
    case XidClass::reset:
      return "reset";
    case XidClass::reboot:
      return "reboot";
    case XidClass::memory:
      return "memory";
    case XidClass::link:
      return "link";
    case XidClass::advice:
      return "advice";
    case XidClass::info:
      return "info";
  }
  return "unlisted";
}

XidClass class_of(std::uint32_t xid) {
  for (const auto& range : kTable)
    if (xid >= range.first && xid <= range.last) return range.xid_class;
  return XidClass::unlisted;
}

std::string_view meaning_of(std::uint32_t xid) {
  switch (xid) {
    case 13:
      return "an exception in a kernel";
    case 31:
      return "a page fault on the card";
    case 43:
      return "a channel was reset";
    case 45:
      return "channels were removed";
    case 48:
      return "a memory error that cannot be corrected";
    case 54:
      return "its power supply is not connected";
    case 63:
      return "a row of memory waits to be remapped";
    case 64:
      return "a row of memory could not be remapped";
    case 74:
      return "an NVLink error";
    case 79:
      return "the card has fallen off the bus";
    case 92:
      return "many corrected memory errors";
    case 94:
      return "a memory error, contained in one process";
    case 95:
      return "a memory error that was not contained";
    case 109:
      return "a context switch timed out";
    case 119:
      return "its system processor does not answer";
    case 120:
      return "an error in its system processor";
    case 154:
      return "the driver's advice has changed";
    default:
      return {};
  }
}

std::string_view advice_of(std::uint32_t recovery) {
  switch (recovery) {
    case 0:
      return "nothing to be done";
    case 1:
      return "reset the card";
    case 2:
      return "reboot the host";
    case 3:
      return "drain what works with other cards";
    case 4:
      return "drain and reset the card";
    default:
      return "something that this version does not know";
  }
}

}  // namespace gpuward
