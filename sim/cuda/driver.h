#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "cuda/cuda_abi.h"
#include "model/process_session.h"

/// What the simulated driver keeps inside its client's process. What others must see is in the
/// state file; this dies with the process.
namespace gpuward::gpusim {

/// Behind a CUcontext. Never freed, so that a stale handle is recognised instead of crashing.
struct Context {
  std::uint32_t magic;
  unsigned device;  ///< index in the state file
  std::uint32_t id;
  std::atomic<unsigned> flags;
  std::atomic<bool> alive;
  bool primary;
};

struct Stream {
  std::uint32_t magic;
  Context* context;
  std::atomic<std::uint64_t> marker;  ///< submitted_ns of the context after the stream's last work
};

struct Event {
  std::uint32_t magic;
  Context* context;
  unsigned flags;
  std::atomic<bool> recorded;
  std::atomic<std::uint64_t> marker;
  std::atomic<std::uint64_t> done_at;  ///< CLOCK_MONOTONIC ns; 0 while nobody has seen it done
};

struct Module;
/// A kernel of a module: how long one launch takes.
struct Function {
  std::uint32_t magic;
  Module* module;
  std::string name;
  int ns_parameter;  ///< number of the 64-bit parameter that holds the ns; -1: fixed
  std::uint64_t fixed_ns;
};

struct Module {
  std::uint32_t magic;
  Context* context;
  std::vector<std::unique_ptr<Function>> functions;
};

inline constexpr std::uint32_t kContextMagic = 0x43747800;
inline constexpr std::uint32_t kStreamMagic = 0x53747200;
inline constexpr std::uint32_t kEventMagic = 0x45767400;
inline constexpr std::uint32_t kModuleMagic = 0x4d6f6400;
inline constexpr std::uint32_t kFunctionMagic = 0x46756e00;

template <class Object>
bool is_valid(const Object* object, std::uint32_t magic) {
  return object != nullptr && object->magic == magic;
}

/// One device allocation. Device memory is numbers: only what small copies wrote is kept.
struct Allocation {
  std::uint64_t size;
  std::uint64_t charged;  ///< bytes taken on the device
  Context* context;
  std::unordered_map<std::uint64_t, std::unique_ptr<unsigned char[]>> pages;
};

struct PrimaryContext {
  Context* context = nullptr;
  unsigned references = 0;
  unsigned flags = 0;
};

struct Driver {
  std::mutex mutex;  ///< of what follows; never held while waiting
  std::atomic<bool> ready{false};
  ForkMark mark;
  std::vector<unsigned> visible;  ///< CUDA ordinal to device index (CUDA_VISIBLE_DEVICES)
  unsigned instance = 0;          ///< of cards in MIG mode: the one that this process uses
  std::vector<PrimaryContext> primary;
  std::map<CUdeviceptr, Allocation> allocations;
  CUdeviceptr next_address = 0x700000000000;
  std::uint64_t kept_bytes = 0;
  std::atomic<std::uint32_t> next_context{1};
};
Driver& driver();

/// What every call begins with: not initialised, forked, faults, a lost context, the gate of a
/// process that the checkpoint calls have locked (waits until it opens).
/// @return 0, or the code that the call must return.
CUresult enter(const char* function);
/// The same without the gate: for the checkpoint calls themselves.
CUresult enter_ungated(const char* function);

/// Is the device off the bus or in need of a reset?
CUresult device_problem(unsigned device);

/// The current context of this thread, or nullptr.
Context* current_context();
CUresult require_context(Context*& context);

/// Puts @p ns of work at the end of the context's queue. @param marker  where it will have ended.
CUresult submit(Context& context, std::uint64_t ns, std::uint64_t& marker);
/// Where all work submitted so far will have ended.
CUresult last_marker(Context& context, std::uint64_t& marker);
/// 0 when the queue has been executed up to @p marker, else 600 or an error.
CUresult query(Context& context, std::uint64_t marker);
/// Waits for that, in the way the context's flags ask for.
/// @param done_at  if not null, receives the instant at which it ended.
CUresult wait_for(Context& context, std::uint64_t marker, std::uint64_t* done_at = nullptr);

/// Creates a context on @p device in the state file.
CUresult make_context(unsigned device, unsigned flags, bool primary, Context*& context);
CUresult destroy_context(Context& context);

/// The stream behind a handle, also behind the two that stand for the default stream.
/// @return nullptr for a handle that is none; the default stream is a Stream of its own per
/// context.
CUresult resolve_stream(Stream* handle, Context*& context, Stream*& stream);
/// Records that @p stream (nullptr: the default stream) now ends at @p marker.
inline void note_work(Stream* stream, std::uint64_t marker) {
  if (stream != nullptr) stream->marker.store(marker, std::memory_order_relaxed);
}

}  // namespace gpuward::gpusim

using CUcontext = gpuward::gpusim::Context*;
using CUstream = gpuward::gpusim::Stream*;
using CUevent = gpuward::gpusim::Event*;
using CUmodule = gpuward::gpusim::Module*;
using CUfunction = gpuward::gpusim::Function*;

/// First line of every exported call.
#define GPUSIM_ENTER()                                                                  \
  do {                                                                                  \
    if (const CUresult code = gpuward::gpusim::enter(__func__); code != 0) return code; \
  } while (false)
