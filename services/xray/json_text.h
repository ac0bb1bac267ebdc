#pragma once

#include <boost/json/value.hpp>
#include <string>

namespace gpuward::xray {

/// JSON on one line with numbers as people write them: Boost.JSON prints 125.3 as 1.253E2.
std::string json_text(const boost::json::value& value);

}  // namespace gpuward::xray
