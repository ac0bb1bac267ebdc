#include "xray/opencv_serial.h"

#include <memory>
#include <opencv2/core/parallel/parallel_backend.hpp>

namespace gpuward::xray {
namespace {

// setNumThreads(0) is not enough: OpenCV 4.6 still asks the pool how large it is.
class Serial final : public cv::parallel::ParallelForAPI {
 public:
  void parallel_for(int tasks, FN_parallel_for_body_cb_t body, void* data) override {
    body(0, tasks, data);
  }
  int getThreadNum() const override { return 0; }
  int getNumThreads() const override { return 1; }
  int setNumThreads(int) override { return 1; }
  const char* getName() const override { return "serial"; }
};

}  // namespace

void keep_opencv_serial() {
  static const bool done = [] {
    cv::parallel::setParallelForBackend(std::make_shared<Serial>(), false);
    return true;
  }();
  static_cast<void>(done);
}

}  // namespace gpuward::xray
