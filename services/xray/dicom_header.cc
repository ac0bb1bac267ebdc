#include "xray/dicom_header.h"

#include <charconv>
#include <string>

#include "xray/bytes.h"

namespace gpuward::xray {
namespace {

constexpr std::uint32_t kUndefinedLength = 0xFFFFFFFF;
constexpr int kMaxDepth = 8;  // of sequences in sequences; real files stay below 5
constexpr int kMaxElements = 20000;

constexpr std::uint32_t tag(unsigned group, unsigned element) {
  return group << 16U | element;
}
constexpr auto kItem = tag(0xFFFE, 0xE000);
constexpr auto kItemEnd = tag(0xFFFE, 0xE00D);
constexpr auto kSequenceEnd = tag(0xFFFE, 0xE0DD);
constexpr auto kPixelData = tag(0x7FE0, 0x0010);

std::unexpected<Problem> damaged(std::string reason) {
  return refuse(422, "damaged_film", std::move(reason));
}
std::unexpected<Problem> cut_off() {
  return damaged("the DICOM file ends before its pixels");
}

struct Element {
  std::uint32_t tag = 0;
  std::string_view vr;  // empty in implicit files
  std::uint32_t length = 0;
};

// PS3.5, 7.1: tag, then VR and length, where some VRs have two spare bytes and a long length.
Element read_element(ByteReader& in, bool explicit_vr) {
  Element element;
  const unsigned group = in.little16();
  element.tag = tag(group, in.little16());
  if (group == 0xFFFE || !explicit_vr) {
    element.length = in.little32();
    return element;
  }
  element.vr = in.text(2);
  static constexpr std::string_view kLong = "OB OD OF OL OV OW SQ SV UC UN UR UT UV";
  if (element.vr.size() == 2 && kLong.find(element.vr) != std::string_view::npos) {
    in.skip(2);
    element.length = in.little32();
  } else {
    element.length = in.little16();
  }
  return element;
}

/// What the walk collects from group 0028 and the pixel element.
struct Found {
  unsigned rows = 0, columns = 0, allocated = 0, stored = 0, samples = 1;
  std::string photometric;
  long frames = 1;
  bool pixels = false, encapsulated = false;
  std::uint64_t pixel_bytes = 0, pixel_bytes_present = 0;
};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\0')) text.remove_suffix(1);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return text;
}

void take(Found& found, const Element& element, ByteReader value) {
  switch (element.tag) {
    case tag(0x0028, 0x0002):
      found.samples = value.little16();
      break;
    case tag(0x0028, 0x0004):
      found.photometric = trimmed(value.text(value.left()));
      break;
    case tag(0x0028, 0x0008): {
      const auto text = trimmed(value.text(value.left()));
      std::from_chars(text.data(), text.data() + text.size(), found.frames);
      break;
    }
    case tag(0x0028, 0x0010):
      found.rows = value.little16();
      break;
    case tag(0x0028, 0x0011):
      found.columns = value.little16();
      break;
    case tag(0x0028, 0x0100):
      found.allocated = value.little16();
      break;
    case tag(0x0028, 0x0101):
      found.stored = value.little16();
      break;
    default:
      break;
  }
}

class Walk {
 public:
  Walk(std::span<const std::byte> film, bool explicit_vr)
      : film_(film), explicit_vr_(explicit_vr) {}

  // The elements of one data set, to its end marker or the end of the file. Depth 0 collects.
  bool data_set(ByteReader& in, int depth) {
    while (in.left() > 0) {
      if (++elements_ > kMaxElements) return false;
      const Element element = read_element(in, explicit_vr_);
      if (!in.good()) return false;
      if (element.tag == kItemEnd) return depth > 0;
      if (depth == 0 && element.tag == kPixelData) return pixels(in, element);
      if (element.length == kUndefinedLength) {
        if (depth >= kMaxDepth || !sequence(in, depth + 1)) return false;
        continue;
      }
      const auto start = in.position();
      in.skip(element.length);
      if (!in.good()) return false;
      if (depth == 0 && element.length <= 64)
        take(found, element, ByteReader(film_.subspan(start, element.length)));
    }
    return depth == 0;
  }

  Found found;

 private:
  // Items up to the sequence's end marker.
  bool sequence(ByteReader& in, int depth) {
    while (in.good()) {
      if (++elements_ > kMaxElements) return false;
      const Element item = read_element(in, explicit_vr_);
      if (item.tag == kSequenceEnd) return in.good();
      if (item.tag != kItem) return false;
      if (item.length != kUndefinedLength) {
        in.skip(item.length);
      } else if (!data_set(in, depth)) {
        return false;
      }
    }
    return false;
  }

  bool pixels(const ByteReader& in, const Element& element) {
    found.pixels = true;
    found.encapsulated = element.length == kUndefinedLength;
    found.pixel_bytes = element.length;
    found.pixel_bytes_present = in.left();
    return true;
  }

  std::span<const std::byte> film_;
  bool explicit_vr_;
  int elements_ = 0;
};

Outcome<FilmHeader> judge(const Found& found) {
  if (!found.pixels) return cut_off();
  if (found.rows == 0 || found.columns == 0)
    return damaged("the DICOM file gives no size for its picture");
  if (found.frames != 1)
    return refuse(415, "unsupported_film", "the DICOM file holds several frames; send one film");
  if (found.allocated != 8 && found.allocated != 16)
    return refuse(415, "unsupported_film", "the DICOM pixels are neither of 8 nor of 16 bits");
  if (found.samples != 1 && found.samples != 3)
    return refuse(415, "unsupported_film", "the DICOM pixels have neither one nor three samples");
  FilmHeader header{.format = Format::dicom};
  header.width = found.columns;
  header.height = found.rows;
  header.bits =
      found.stored != 0 && found.stored <= found.allocated ? found.stored : found.allocated;
  header.channels = found.samples;
  header.inverted = found.photometric == "MONOCHROME1";
  const auto needed = header.pixels() * found.samples * (found.allocated / 8);
  if (!found.encapsulated && found.pixel_bytes < needed)
    return damaged("the DICOM pixel element is smaller than its picture");
  if (!found.encapsulated && found.pixel_bytes_present < needed)
    return refuse(
        422, "damaged_film", "the DICOM file ends inside its pixels",
        {{"pixel_bytes_needed", needed}, {"pixel_bytes_present", found.pixel_bytes_present}});
  return header;
}

}  // namespace

bool looks_like_dicom(std::span<const std::byte> film) {
  ByteReader in(film);
  in.skip(128);
  return in.good() && in.starts_with("DICM");
}

Outcome<FilmHeader> sniff_dicom(std::span<const std::byte> film) {
  ByteReader in(film);
  in.skip(132);
  std::string syntax;
  // PS3.10, 7.1: group 0002 is always explicit little endian and names the syntax of the rest.
  while (in.good() && in.starts_with(std::string_view("\x02\x00", 2))) {
    const Element element = read_element(in, true);
    if (!in.good() || element.length > in.left()) return cut_off();
    const auto value = in.text(element.length);
    if (element.tag == tag(0x0002, 0x0010)) syntax = trimmed(value);
  }
  if (!in.good() || syntax.empty()) return damaged("the DICOM file names no transfer syntax");
  if (syntax == "1.2.840.10008.1.2.1.99" || syntax == "1.2.840.10008.1.2.2")
    return refuse(415, "unsupported_film",
                  "deflated and big-endian DICOM files are not taken; convert the film first");
  Walk walk(film, syntax != "1.2.840.10008.1.2");
  if (!walk.data_set(in, 0)) return cut_off();
  return judge(walk.found);
}

}  // namespace gpuward::xray
