#pragma once

#include "model/session.h"

/// The one Session of this process, kept by libgpusim.so.1, which both libcuda.so.1 and
/// libnvidia-ml.so.1 need: see Session for why there may be only one. It lives as long as the
/// process.
extern "C" gpuward::gpusim::Session* gpusim_session_1();

namespace gpuward::gpusim {

inline Session& process_session() {
  static Session& session = *gpusim_session_1();
  return session;
}

}  // namespace gpuward::gpusim
