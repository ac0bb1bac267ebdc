#pragma once

#include <string>
#include <vector>

#include "base/units.h"
#include "domain/gpu.h"
#include "gpu/activity.h"
#include "gpu/busy.h"
#include "gpu/library.h"
#include "gpu/pairing.h"
#include "gpu/pid_space.h"
#include "gpu/signals.h"

namespace gpuward::gpu {

/// What all cards of one look share.
struct Look {
  const Library& library;
  CallMark& mark;
  const PidSpace& pids;
  Pairer& pairer;
  const std::string& sysfs;
  std::size_t& rows_left;   ///< that the snapshot still has room for
  bool everything = false;  ///< also what is not due yet
};

/// One card: how to ask it, what it said last, and what of it is due when. Memory, load and
/// processes are read at each look; the rest has periods of its own.
class Card {
 public:
  explicit Card(std::uint32_t index) { device_.index = index; }

  /// Reads what is due. A card that cannot be read keeps its numbers and their times, with a state
  /// that says so, and is attached anew at the next look.
  void look(const Look& look);

  const GpuDevice& device() const { return device_; }
  abi::Device handle() const { return handle_; }
  /// What the last look came to.
  abi::Code code() const { return code_; }
  /// Its place among the others, told when all are attached.
  void set_neighbours(std::vector<GpuNeighbour> neighbours) {
    device_.place.neighbours = std::move(neighbours);
  }

 private:
  abi::Code attach(const Look& look);
  abi::Code read(const Look& look);
  abi::Code read_memory(const Caller& caller, GpuDevice& device);
  void read_busy(const Caller& caller, GpuDevice& device);
  void read_processes(const Look& look, const Caller& caller, GpuDevice& device);
  std::vector<RawRow> list(const Caller& caller, GpuDevice& device);
  void note_leavers(const GpuDevice& before, const GpuDevice& now);
  void read_by_period(const Look& look, const Caller& caller, GpuDevice& device);
  void condemn(const Look& look, abi::Code code);

  abi::Device handle_ = nullptr;
  abi::Code code_ = abi::kSuccess;
  const char* call_ = "";  // that code_ is of
  GpuDevice device_;
  SampleReader busy_samples_{abi::kGpuSamples};
  SampleReader memory_samples_{abi::kMemorySamples};
  ActivityReader activity_;
  std::uint32_t row_room_ = 64;
  std::vector<Leaver> leavers_;
  std::int64_t climate_due_ns_ = 0;
  std::int64_t switching_due_ns_ = 0;
  std::int64_t link_due_ns_ = 0;
  std::int64_t errors_due_ns_ = 0;
};

}  // namespace gpuward::gpu
