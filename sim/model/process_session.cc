#include "model/process_session.h"

extern "C" __attribute__((visibility("default"))) gpuward::gpusim::Session* gpusim_session_1() {
  // Never destroyed: other threads may still be in a call while the process exits.
  static auto* session = new gpuward::gpusim::Session;
  return session;
}
