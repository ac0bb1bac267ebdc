#pragma once

namespace gpuward::xray {

/// Makes OpenCV do everything on the calling thread: the service is told its concurrency from
/// outside, and the pool of threads that OpenCV was built for is not even linked. Cheap to repeat;
/// call before any other function of OpenCV.
void keep_opencv_serial();

}  // namespace gpuward::xray
