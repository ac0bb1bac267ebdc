#include <cstring>

#include "cuda/driver.h"

/// Streams and events. All streams of a context share one queue, executed in the order of
/// submission: a simulated card never overlaps the work of one context.
namespace gpuward::gpusim {

CUresult resolve_stream(Stream* handle, Context*& context, Stream*& stream) {
  // 0, 1 and 2 are the default stream: unnamed, legacy, per thread.
  if (reinterpret_cast<std::uintptr_t>(handle) <= 2) {
    stream = nullptr;
    return require_context(context);
  }
  if (!is_valid(handle, kStreamMagic)) return kInvalidHandle;
  stream = handle;
  context = handle->context;
  return context->alive.load() ? kSuccess : kContextIsDestroyed;
}

namespace {

CUresult marker_of(Stream* handle, Context*& context, std::uint64_t& marker) {
  Stream* stream = nullptr;
  if (const CUresult code = resolve_stream(handle, context, stream); code != 0) return code;
  if (stream == nullptr) return last_marker(*context, marker);
  marker = stream->marker.load(std::memory_order_relaxed);
  return kSuccess;
}

CUresult make_stream(Stream** out) {
  Context* context = nullptr;
  if (out == nullptr) return kInvalidValue;
  if (const CUresult code = require_context(context); code != 0) return code;
  *out = new Stream{kStreamMagic, context, {0}};
  return kSuccess;
}

/// 0 once the event's work is done (then done_at is set), 600 before.
CUresult check(Event& event) {
  if (!event.recorded.load()) return kSuccess;
  const CUresult code = query(*event.context, event.marker.load());
  if (code == kSuccess && event.done_at.load() == 0) event.done_at.store(monotonic_ns());
  return code;
}

}  // namespace
}  // namespace gpuward::gpusim

using namespace gpuward::gpusim;

GPUSIM_CUDA cuStreamCreate(CUstream* out, unsigned) {
  GPUSIM_ENTER();
  return make_stream(out);
}

GPUSIM_CUDA cuStreamCreateWithPriority(CUstream* out, unsigned, int) {
  GPUSIM_ENTER();
  return make_stream(out);
}

GPUSIM_CUDA cuStreamDestroy_v2(CUstream stream) {
  GPUSIM_ENTER();
  if (!is_valid(stream, kStreamMagic)) return kInvalidHandle;
  stream->magic = 0;  // kept for ever: a few bytes buy a clear answer to a stale handle
  return kSuccess;
}

GPUSIM_CUDA cuStreamSynchronize(CUstream handle) {
  GPUSIM_ENTER();
  Context* context = nullptr;
  std::uint64_t marker = 0;
  if (const CUresult code = marker_of(handle, context, marker); code != 0) return code;
  return wait_for(*context, marker);
}

GPUSIM_CUDA cuStreamQuery(CUstream handle) {
  GPUSIM_ENTER();
  Context* context = nullptr;
  std::uint64_t marker = 0;
  if (const CUresult code = marker_of(handle, context, marker); code != 0) return code;
  return query(*context, marker);
}

GPUSIM_CUDA cuStreamWaitEvent(CUstream handle, CUevent event, unsigned) {
  GPUSIM_ENTER();
  Context* context = nullptr;
  Stream* stream = nullptr;
  if (!is_valid(event, kEventMagic)) return kInvalidHandle;
  if (const CUresult code = resolve_stream(handle, context, stream); code != 0) return code;
  // One queue per context: what is recorded there already runs before what comes later. Between
  // contexts the wait is made here, where the real driver would leave it to the card.
  if (event->recorded.load() && event->context != context) {
    return wait_for(*event->context, event->marker.load());
  }
  if (stream != nullptr && stream->marker.load() < event->marker.load()) {
    stream->marker.store(event->marker.load());
  }
  return kSuccess;
}

GPUSIM_CUDA cuEventCreate(CUevent* out, unsigned flags) {
  GPUSIM_ENTER();
  Context* context = nullptr;
  if (out == nullptr) return kInvalidValue;
  if (const CUresult code = require_context(context); code != 0) return code;
  *out = new Event{kEventMagic, context, flags, {false}, {0}, {0}};
  return kSuccess;
}

GPUSIM_CUDA cuEventDestroy_v2(CUevent event) {
  GPUSIM_ENTER();
  if (!is_valid(event, kEventMagic)) return kInvalidHandle;
  event->magic = 0;
  return kSuccess;
}

GPUSIM_CUDA cuEventRecord(CUevent event, CUstream handle) {
  GPUSIM_ENTER();
  if (!is_valid(event, kEventMagic)) return kInvalidHandle;
  Context* context = nullptr;
  std::uint64_t marker = 0;
  if (const CUresult code = marker_of(handle, context, marker); code != 0) return code;
  if (context != event->context) return kInvalidHandle;
  event->marker.store(marker);
  event->done_at.store(0);
  event->recorded.store(true);
  // An idle queue has reached the event already, at this moment.
  const CUresult code = check(*event);
  return code == kNotReady ? kSuccess : code;
}

GPUSIM_CUDA cuEventQuery(CUevent event) {
  GPUSIM_ENTER();
  return is_valid(event, kEventMagic) ? check(*event) : kInvalidHandle;
}

GPUSIM_CUDA cuEventSynchronize(CUevent event) {
  GPUSIM_ENTER();
  if (!is_valid(event, kEventMagic)) return kInvalidHandle;
  if (!event->recorded.load() || event->done_at.load() != 0) return kSuccess;
  std::uint64_t done_at = 0;
  const CUresult code = wait_for(*event->context, event->marker.load(), &done_at);
  if (code == kSuccess) event->done_at.store(done_at);
  return code;
}

GPUSIM_CUDA cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  GPUSIM_ENTER();
  if (milliseconds == nullptr) return kInvalidValue;
  if (!is_valid(start, kEventMagic) || !is_valid(end, kEventMagic)) return kInvalidHandle;
  if (!start->recorded.load() || !end->recorded.load()) return kInvalidHandle;
  if (((start->flags | end->flags) & kEventDisableTiming) != 0) return kInvalidHandle;
  for (Event* event : {start, end}) {
    if (event->done_at.load() != 0) continue;
    if (const CUresult code = check(*event); code != 0) return code;
  }
  const auto from = static_cast<double>(start->done_at.load());
  const auto to = static_cast<double>(end->done_at.load());
  *milliseconds = static_cast<float>((to - from) / 1e6);
  return kSuccess;
}
