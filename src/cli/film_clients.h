#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/units.h"

namespace gpuward::cli {

/// A film as it is uploaded.
struct Film {
  std::string name;  ///< of its file
  std::string bytes;
};
/// Every PNG, JPEG and DICOM file of @p folder, by name. Errors: none there, unreadable.
Result<std::vector<Film>> read_films(const std::string& folder);

/// What the clients of the bundled X-ray service do: each uploads a film, waits, takes the next.
struct ClientPlan {
  std::uint16_t port = 0;  ///< of 127.0.0.1
  unsigned at_once = 3;
  std::size_t most = 0;  ///< films in all; 0: until @ref until
  Instant until = Instant::max();
  Duration patience = std::chrono::seconds(6);  ///< then a client closes and leaves
  bool ask_faults = false;                      ///< send X-Film-Fault: yes
};

struct FilmOutcome {
  std::size_t film = 0;  ///< index
  int status = 0;        ///< of HTTP; 0: the client left, or the connection broke
  std::string body;
};

/// Something to do every so often while the clients run.
struct Beat {
  Duration every = std::chrono::hours(1);
  std::function<void()> act = [] {};
};

/// Runs the clients in this thread until all is answered or given up. At `until` those still
/// waiting leave and do not count.
std::vector<FilmOutcome> send_films(const std::vector<Film>& films, const ClientPlan& plan,
                                    const Beat& beat = {});

}  // namespace gpuward::cli
