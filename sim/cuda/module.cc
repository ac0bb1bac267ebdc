#include <cctype>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "cuda/driver.h"

/// Modules and launches. No code is run: a kernel is a name and a duration. The module's text says
/// the duration in a comment that a real PTX compiler ignores:
///
///     // gpusim: NAME ns=param0        each launch takes the ns in its first 64-bit parameter
///     // gpusim: NAME ns=1130000       each launch takes 1.13 ms
namespace gpuward::gpusim {
namespace {

std::string_view next_word(std::string_view& text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  std::size_t end = 0;
  while (end < text.size() && std::isspace(static_cast<unsigned char>(text[end])) == 0 &&
         text[end] != '(') {
    ++end;
  }
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

Function& function_named(Module& module, std::string_view name) {
  for (auto& function : module.functions) {
    if (function->name == name) return *function;
  }
  const std::uint64_t usual = process_session().state().header.default_kernel_ns;
  module.functions.push_back(
      std::make_unique<Function>(Function{kFunctionMagic, &module, std::string(name), -1, usual}));
  return *module.functions.back();
}

void read_duration(Function& function, std::string_view word) {
  constexpr std::string_view kKey = "ns=";
  constexpr std::string_view kParameter = "param";
  if (!word.starts_with(kKey)) return;
  std::string value(word.substr(kKey.size()));
  if (value.starts_with(kParameter)) {
    function.ns_parameter = std::atoi(value.c_str() + kParameter.size());
  } else {
    function.fixed_ns = std::strtoull(value.c_str(), nullptr, 10);
  }
}

void read_line(Module& module, std::string_view line) {
  constexpr std::string_view kComment = "// gpusim:";
  constexpr std::string_view kEntry = ".entry";
  if (const auto at = line.find(kComment); at != std::string_view::npos) {
    line.remove_prefix(at + kComment.size());
    const std::string_view name = next_word(line);
    if (!name.empty()) read_duration(function_named(module, name), next_word(line));
    return;
  }
  if (const auto at = line.find(kEntry); at != std::string_view::npos) {
    line.remove_prefix(at + kEntry.size());
    const std::string_view name = next_word(line);
    if (!name.empty()) function_named(module, name);
  }
}

CUresult load(Module** out, const void* image) {
  Context* context = nullptr;
  if (out == nullptr || image == nullptr) return kInvalidValue;
  if (const CUresult code = require_context(context); code != 0) return code;
  const auto* first = static_cast<const unsigned char*>(image);
  // Compiled images (ELF, fat binaries) begin with bytes that no text has.
  if (std::isprint(*first) == 0 && std::isspace(*first) == 0) return kInvalidImage;
  auto* module = new Module{kModuleMagic, context, {}};
  std::string_view text(static_cast<const char*>(image));
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    read_line(*module, text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  *out = module;
  return kSuccess;
}

std::uint64_t duration_of(const Function& function, void** parameters) {
  if (function.ns_parameter < 0 || parameters == nullptr) return function.fixed_ns;
  std::uint64_t ns = 0;
  std::memcpy(&ns, parameters[function.ns_parameter], sizeof ns);
  return ns;
}

}  // namespace
}  // namespace gpuward::gpusim

using namespace gpuward::gpusim;

GPUSIM_CUDA cuModuleLoadData(CUmodule* out, const void* image) {
  GPUSIM_ENTER();
  return load(out, image);
}

GPUSIM_CUDA cuModuleLoadDataEx(CUmodule* out, const void* image, unsigned, int*, void**) {
  GPUSIM_ENTER();
  return load(out, image);
}

GPUSIM_CUDA cuModuleUnload(CUmodule module) {
  GPUSIM_ENTER();
  if (!is_valid(module, kModuleMagic)) return kInvalidHandle;
  module->magic = 0;  // kept: functions that somebody still launches point to it
  return kSuccess;
}

GPUSIM_CUDA cuModuleGetFunction(CUfunction* out, CUmodule module, const char* name) {
  GPUSIM_ENTER();
  if (out == nullptr || name == nullptr) return kInvalidValue;
  if (!is_valid(module, kModuleMagic)) return kInvalidHandle;
  for (auto& function : module->functions) {
    if (function->name == name) {
      *out = function.get();
      return kSuccess;
    }
  }
  return kNotFound;
}

GPUSIM_CUDA cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                           unsigned block_x, unsigned block_y, unsigned block_z, unsigned,
                           CUstream handle, void** parameters, void**) {
  GPUSIM_ENTER();
  if (!is_valid(function, kFunctionMagic) || !is_valid(function->module, kModuleMagic)) {
    return kInvalidHandle;
  }
  if (grid_x * grid_y * grid_z == 0 || block_x * block_y * block_z == 0) return kInvalidValue;
  Context* context = nullptr;
  Stream* stream = nullptr;
  if (const CUresult code = resolve_stream(handle, context, stream); code != 0) return code;
  std::uint64_t marker = 0;
  const CUresult code = submit(*context, duration_of(*function, parameters), marker);
  if (code == kSuccess) note_work(stream, marker);
  return code;
}
