#pragma once

#include <string_view>

namespace gpuward::anchor {

/// "HTTP/1.1 200 OK" -> 200; 0 for what is no status line.
int http_status(std::string_view line);

}  // namespace gpuward::anchor
