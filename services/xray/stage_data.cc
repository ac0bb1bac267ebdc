#include "xray/stage_data.h"

#include <cstring>
#include <type_traits>

namespace gpuward::xray {
namespace {

class Writer {
 public:
  template <class Value>
  void value(const Value& value) {
    static_assert(std::is_trivially_copyable_v<Value>);
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void bytes(const void* data, std::size_t size) {
    value(std::uint64_t{size});
    out_.append(static_cast<const char*>(data), size);
  }
  void text(std::string_view text) { bytes(text.data(), text.size()); }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class Value>
  void value(Value& value) {
    static_assert(std::is_trivially_copyable_v<Value>);
    if (!has(sizeof value)) return;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
  }
  std::span<const std::byte> bytes() {
    std::uint64_t size = 0;
    value(size);
    if (!has(size)) return {};
    at_ += size;
    return bytes_.subspan(at_ - size, size);
  }
  std::string text() {
    const auto view = bytes();
    return {reinterpret_cast<const char*>(view.data()), view.size()};
  }
  bool good() const { return good_; }

 private:
  bool has(std::uint64_t size) {
    good_ = good_ && size <= bytes_.size() - at_;
    return good_;
  }
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
  bool good_ = true;
};

std::unexpected<Problem> garbled() {
  return refuse(500, "stage_failed", "a stage wrote an answer that makes no sense");
}

void write(Writer& out, const Prepared& prepared) {
  out.value(prepared.header);
  out.value(prepared.exposure);
  out.value(prepared.width);
  out.value(prepared.height);
  out.bytes(prepared.enhanced.data(), prepared.enhanced.size());
}

bool read(Reader& in, Prepared& prepared) {
  in.value(prepared.header);
  in.value(prepared.exposure);
  in.value(prepared.width);
  in.value(prepared.height);
  const auto pixels = in.bytes();
  prepared.enhanced.resize(pixels.size());
  if (!pixels.empty()) std::memcpy(prepared.enhanced.data(), pixels.data(), pixels.size());
  return in.good() && prepared.width > 0 && prepared.height > 0 &&
         pixels.size() ==
             static_cast<std::size_t>(prepared.width) * static_cast<std::size_t>(prepared.height);
}

}  // namespace

std::string encode(const Prepared& prepared) {
  Writer out;
  write(out, prepared);
  return out.take();
}

Outcome<Prepared> decode_prepared(std::span<const std::byte> bytes) {
  Reader in(bytes);
  Prepared prepared;
  if (!read(in, prepared)) return garbled();
  return prepared;
}

std::string encode(const ReportOrder& order) {
  Writer out;
  out.text(order.nonce);
  out.value(order.language);
  write(out, order.prepared);
  return out.take();
}

Outcome<ReportOrder> decode_order(std::span<const std::byte> bytes) {
  Reader in(bytes);
  ReportOrder order;
  order.nonce = in.text();
  in.value(order.language);
  if (!read(in, order.prepared)) return garbled();
  return order;
}

std::string encode_answer(const Outcome<std::string>& answer) {
  Writer out;
  out.value(answer.has_value());
  if (answer) {
    out.text(*answer);
    return out.take();
  }
  const Problem& problem = answer.error();
  out.value(problem.status);
  out.text(problem.code);
  out.text(problem.reason);
  out.value(std::uint64_t{problem.numbers.size()});
  for (const auto& [name, number] : problem.numbers) {
    out.text(name);
    out.value(number);
  }
  return out.take();
}

Outcome<std::string> decode_answer(std::span<const std::byte> bytes) {
  Reader in(bytes);
  bool good = false;
  in.value(good);
  if (good) {
    auto text = in.text();
    if (!in.good()) return garbled();
    return text;
  }
  Problem problem;
  std::uint64_t numbers = 0;
  in.value(problem.status);
  problem.code = in.text();
  problem.reason = in.text();
  in.value(numbers);
  for (; in.good() && numbers > 0; --numbers) {
    auto name = in.text();
    std::uint64_t number = 0;
    in.value(number);
    problem.numbers.emplace_back(std::move(name), number);
  }
  if (!in.good()) return garbled();
  return std::unexpected(std::move(problem));
}

}  // namespace gpuward::xray
