#include "xray/multipart.h"

#include <gtest/gtest.h>
#include <random>
#include <string>

namespace gpuward::xray {
namespace {

std::string part(std::string_view header, std::string_view content) {
  return "--B\r\n" + std::string(header) + "\r\n\r\n" + std::string(content) + "\r\n";
}
constexpr std::string_view kFile =
    "Content-Disposition: form-data; name=\"film\"; filename=\"a.png\"\r\nContent-Type: image/png";
constexpr std::string_view kNonce = "Content-Disposition: form-data; name=\"nonce\"";

TEST(Multipart, FindsFilesAndFields) {
  const auto body =
      part(kNonce, "n-1") + part(kFile, std::string("\0\r\n--A\r\n", 9)) + "--B--\r\n";
  const auto parts = parse_multipart(body, "B");
  ASSERT_TRUE(parts) << parts.error().reason;
  ASSERT_EQ(parts->size(), 2U);
  EXPECT_EQ((*parts)[0].name, "nonce");
  EXPECT_EQ((*parts)[0].content, "n-1");
  EXPECT_FALSE((*parts)[0].is_file);
  EXPECT_TRUE((*parts)[1].is_file);
  EXPECT_EQ((*parts)[1].name, "film");
  EXPECT_EQ((*parts)[1].content, std::string_view("\0\r\n--A\r\n", 9));
}

TEST(Multipart, QuotedAndStarredFileNamesCount) {
  for (const auto* header :
       {"content-disposition: form-data; name=film; filename=x",
        "Content-Disposition: form-data; filename=\"a \\\"b; name=wrong\"; name=\"film\"",
        "Content-Disposition: form-data; name=\"film\"; filename*=UTF-8''%E8%83%B8.png"}) {
    const auto body = part(header, "x") + "--B--";
    const auto parts = parse_multipart(body, "B");
    ASSERT_TRUE(parts && parts->size() == 1) << header;
    EXPECT_TRUE((*parts)[0].is_file) << header;
    EXPECT_EQ((*parts)[0].name, "film") << header;
  }
}

TEST(Multipart, IgnoresWhatStandsBeforeAndAfter) {
  const auto body = "hello\r\n" + part(kFile, "x") + "--B--\r\nthe end";
  const auto parts = parse_multipart(body, "B");
  ASSERT_TRUE(parts);
  EXPECT_EQ(parts->size(), 1U);
}

TEST(Multipart, TakesEmptyContent) {
  for (const std::string& body :
       {part(kFile, "") + "--B--", "--B\r\n" + std::string(kFile) + "\r\n\r\n--B--"}) {
    const auto parts = parse_multipart(body, "B");
    ASSERT_TRUE(parts && parts->size() == 1);
    EXPECT_EQ((*parts)[0].content, "");
  }
}

TEST(Multipart, RefusesWhatIsCutOff) {
  const auto body = part(kFile, "content") + "--B--\r\n";
  for (std::size_t size = 0; size + 4 < body.size(); ++size) {
    const auto cut = body.substr(0, size);
    const auto parts = parse_multipart(cut, "B");
    ASSERT_FALSE(parts) << size;
    EXPECT_EQ(parts.error().status, 400U);
  }
}

TEST(Multipart, IsBounded) {
  std::string many;
  for (std::size_t i = 0; i <= kMaxParts; ++i) many += part(kNonce, "x");
  const auto parts = parse_multipart(many + "--B--", "B");
  ASSERT_FALSE(parts);
  EXPECT_EQ(parts.error().status, 413U);
  EXPECT_EQ(parts.error().code, "too_many_parts");
  const auto long_header = "--B\r\nX: " + std::string(kMaxPartHeader, 'x') + "\r\n\r\nx\r\n--B--";
  ASSERT_FALSE(parse_multipart(long_header, "B"));
  EXPECT_EQ(parse_multipart(long_header, "B").error().status, 413U);
}

TEST(Multipart, ReadsTheBoundary) {
  EXPECT_EQ(boundary_of("multipart/form-data; boundary=abc").value(), "abc");
  EXPECT_EQ(boundary_of("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"").value(), "a b");
  for (const auto* wrong : {"multipart/form-data", "multipart/form-data; boundary=",
                            "multipart/mixed; boundary=x", "text/plain; boundary=x"}) {
    ASSERT_FALSE(boundary_of(wrong)) << wrong;
    EXPECT_EQ(boundary_of(wrong).error().status, 400U);
  }
  EXPECT_FALSE(boundary_of("multipart/form-data; boundary=" + std::string(71, 'x')));
}

TEST(Multipart, SurvivesNoise) {
  std::mt19937 random(3);
  const std::string_view letters = "\r\n-B:;=\"\\ xname";
  for (int round = 0; round < 5000; ++round) {
    std::string body = "--B\r\n";
    for (unsigned i = random() % 200; i > 0; --i) body += letters[random() % letters.size()];
    const auto parts = parse_multipart(body, "B");
    if (parts) {
      EXPECT_LE(parts->size(), kMaxParts);
    }
  }
}

}  // namespace
}  // namespace gpuward::xray
