#pragma once

#include <cstdio>
#include <string>

#include "domain/anchor_state.h"

namespace gpuward::cli {

/// "xray: ended 6 processes in 4.1 ms; GPU memory back: 4.0 GiB; port 7860 free".
/// @p looked: did anybody look at the cards? Otherwise that they cannot be seen would be a guess.
std::string receipt_line(const std::string& service, const Receipt& receipt, bool looked = true);
void print_receipt(std::FILE* out, const std::string& service, const Receipt& receipt,
                   bool looked = true);
/// Who is left, one a line, on standard error.
void print_survivors(const std::string& service, const Receipt& receipt);

}  // namespace gpuward::cli
