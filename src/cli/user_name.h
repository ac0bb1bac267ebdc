#pragma once

#include <string>
#include <string_view>

namespace gpuward::cli {

/// The name of @p uid in @p passwd, the text of /etc/passwd, else its number. From the file alone:
/// a static program has no name services.
std::string user_name(unsigned uid, std::string_view passwd);

}  // namespace gpuward::cli
