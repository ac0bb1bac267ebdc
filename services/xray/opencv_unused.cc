// OpenCV's objects name functions of LAPACK, BLAS, TBB and GLX that this program never reaches: it
// scales, equalizes, blurs and opens pictures on one thread. CMakeLists.txt binds every such name
// to this function, so that none of those libraries has to be carried along.
#include <unistd.h>

#include <cstdlib>
#include <string_view>

extern "C" [[noreturn]] void gpuward_xray_not_linked() {
  constexpr std::string_view kText = "gpuward-xray: OpenCV called a function that is not linked\n";
  static_cast<void>(!::write(STDERR_FILENO, kText.data(), kText.size()));
  std::abort();
}
