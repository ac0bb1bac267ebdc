#pragma once

#include <fcntl.h>

#include <cstdlib>
#include <string>

#include "os/fd.h"

namespace gpuward::tests {

/// A folder for one test, removed with what the test left in it.
class TempFolder {
 public:
  TempFolder() {
    char name[] = "/tmp/gpuward-test-XXXXXX";
    if (::mkdtemp(name) != nullptr) path_ = name;
    if (auto dir = os::Fd::open(path_, O_RDONLY | O_DIRECTORY)) dir_ = std::move(*dir);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    if (!path_.empty()) (void)!std::system(("rm -rf '" + path_ + "'").c_str());
  }

  const std::string& path() const { return path_; }
  const os::Fd& dir() const { return dir_; }

 private:
  std::string path_;
  os::Fd dir_;
};

}  // namespace gpuward::tests
