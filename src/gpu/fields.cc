#include "gpu/fields.h"

#include <algorithm>

namespace gpuward::gpu {

std::uint64_t number_in(const abi::Value& value, std::int32_t type) {
  switch (type) {
    case abi::kDouble:
      // A conversion of what does not fit is undefined.
      return value.as_double >= 0 && value.as_double < 9e18
                 ? static_cast<std::uint64_t>(value.as_double)
                 : 0;
    case abi::kU32:
      return value.as_u32;
    case abi::kUnsignedLong:
    case abi::kU64:
      return value.as_u64;
    case abi::kS64:
      return value.as_u64 >> 63 != 0 ? 0 : value.as_u64;
    case abi::kI32:
      return value.as_i32 < 0 ? 0 : static_cast<std::uint64_t>(value.as_i32);
    case abi::kU16:
      return value.as_u16;
    default:
      return 0;
  }
}

void FieldBatch::read(const Caller& caller) {
  std::vector<abi::FieldValue> values(wanted_.size());
  for (std::size_t n = 0; n < wanted_.size(); ++n) values[n].id = wanted_[n].id;
  const abi::Code all =
      wanted_.empty()
          ? abi::kSuccess
          : caller(caller.library.fields, static_cast<std::int32_t>(values.size()), values.data());
  for (std::size_t n = 0; n < wanted_.size(); ++n) {
    const abi::FieldValue& field = values[n];
    abi::Code code = all != abi::kSuccess ? all : field.code;
    // An id that this driver does not know: it says so in one of several ways.
    if (all == abi::kSuccess && code == abi::kInvalidArgument) code = abi::kNotSupported;
    wanted_[n].put(wanted_[n].reading, caller, code, number_in(field.value, field.type));
  }
  wanted_.clear();
}

}  // namespace gpuward::gpu
