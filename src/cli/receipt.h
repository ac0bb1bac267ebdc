#pragma once

#include <cstdio>
#include <string>

#include "domain/anchor_state.h"

namespace gpuward::cli {

/// "xray: ended 6 processes in 4.1 ms; GPU memory back: 4.0 GiB; port 7860 free".
std::string receipt_line(const std::string& service, const Receipt& receipt);
void print_receipt(std::FILE* out, const std::string& service, const Receipt& receipt);
/// Who is left, one a line, on standard error.
void print_survivors(const std::string& service, const Receipt& receipt);

}  // namespace gpuward::cli
