// gpuwardd [FILE...]: the warden. Started by `gpuward up` or by systemd. When descriptor 3 is a
// pipe handed by `gpuward up`, the outcome of the start goes there: nothing = up, else why not.

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "os/fd.h"
#include "os/spawn.h"
#include "warden/warden.h"

int main(int argc, char** argv) {
  using namespace gpuward;
  std::vector<std::string> files;
  os::Fd tell;
  for (int at = 1; at < argc; ++at) {
    const std::string_view word(argv[at]);
    if (word == "--version") {
      std::puts("gpuwardd " GPUWARD_VERSION);
      return 0;
    }
    if (word == "--tell") {
      tell = os::Fd::take(3);
      if (!tell.set_cloexec(true)) return 2;
    } else if (word.starts_with("-")) {
      std::fputs("usage: gpuwardd [FILE...]\nStarted by: gpuward up\n", stderr);
      return 2;
    } else {
      files.emplace_back(word);
    }
  }
  ::signal(SIGPIPE, SIG_IGN);
  os::raise_file_limit();  // a connection for each service
  auto home = control::find_home();
  std::string trouble = home ? "" : home.error().message();
  if (trouble.empty()) {
    warden::Warden warden(*home);
    auto why = warden.begin(files);
    if (!why) {
      tell.close();
      return warden.run();
    }
    trouble = *why;
  }
  if (tell)
    (void)os::write_all(tell, trouble, "the starter's pipe");
  else
    std::fprintf(stderr, "gpuwardd: %s\n", trouble.c_str());
  return 1;
}
