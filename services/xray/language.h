#pragma once

#include <string_view>

namespace gpuward::xray {

enum class Language { chinese, english };

/// The better wished-for one of the two by an Accept-Language header (RFC 9110, 12.5.4), q-values
/// honoured. Chinese when the header is empty, holds only "*", or wishes both equally;
/// English when it names only other languages.
Language choose_language(std::string_view accept_language);

/// "zh-CN" or "en"
std::string_view tag_of(Language language);

}  // namespace gpuward::xray
