#include "gateway/kept_body.h"

#include <dirent.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <random>
#include <string>

namespace gpuward::gateway {
namespace {

std::string noise(std::size_t size) {
  std::mt19937 random(7);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

/// All of @p body, as it is sent.
std::string whole(KeptBody& body) {
  std::string bytes = body.start();
  char piece[10'000];
  for (std::uint64_t at = 0; body.rest() != nullptr && at < body.rest()->size();) {
    const auto count = body.rest()->read(at, piece, sizeof piece);
    if (!count || *count == 0) return "cannot be read";
    bytes.append(piece, *count);
    at += *count;
  }
  return bytes;
}

class KeptBodyTest : public testing::Test {
 protected:
  KeptBodyTest() {
    char name[] = "/tmp/gpuward-kept-XXXXXX";
    folder = ::mkdtemp(name);
  }
  ~KeptBodyTest() override { EXPECT_EQ(::rmdir(folder.c_str()), 0) << "it must be empty"; }

  BodyMemory memory;
  std::string folder;
};

TEST_F(KeptBodyTest, SmallOnesStayInMemory) {
  KeptBody body(memory, folder);
  ASSERT_TRUE(body.append("abc"));
  ASSERT_TRUE(body.append("def"));
  EXPECT_EQ(body.start(), "abcdef");
  EXPECT_EQ(body.rest(), nullptr);
  EXPECT_EQ(memory.used(), 6U);
  body.clear();
  EXPECT_EQ(memory.used(), 0U);
  EXPECT_EQ(body.size(), 0U);
}

TEST_F(KeptBodyTest, LargeOnesComeBackAsTheyWereAsOftenAsTheyAreAskedFor) {
  const std::string bytes = noise(3'000'001);
  KeptBody body(memory, folder);
  for (std::size_t at = 0; at < bytes.size(); at += 7'777)
    ASSERT_TRUE(body.append(std::string_view(bytes).substr(at, 7'777)));
  EXPECT_EQ(body.size(), bytes.size());
  EXPECT_LE(memory.used(), KeptBody::kInMemory);
  EXPECT_EQ(whole(body), bytes);
  EXPECT_EQ(whole(body), bytes) << "for another replica";
}

TEST_F(KeptBodyTest, NothingOfThemIsOnTheDiskInClear) {
  auto file = SpillFile::make(folder.c_str());
  ASSERT_TRUE(file) << file.error().message();
  std::string marker;
  while (marker.size() < 100'000) marker += "PATIENT-0815 ";
  ASSERT_TRUE(file->append(marker));
  // Whatever this process has open below the folder, read as it is.
  bool seen = false;
  DIR* fds = ::opendir("/proc/self/fd");
  ASSERT_NE(fds, nullptr);
  while (const dirent* entry = ::readdir(fds)) {
    const std::string link = std::string("/proc/self/fd/") + entry->d_name;
    char target[300] = "";
    if (::readlink(link.c_str(), target, sizeof target - 1) < 0 ||
        std::string_view(target).find(folder) == std::string_view::npos)
      continue;
    auto raw = os::read_file(link);
    ASSERT_TRUE(raw) << raw.error().message();
    EXPECT_EQ(raw->size(), marker.size());
    EXPECT_EQ(raw->find("PATIENT"), std::string::npos);
    seen = true;
  }
  ::closedir(fds);
  EXPECT_TRUE(seen);
}

TEST_F(KeptBodyTest, EachFileIsReadWithItsOwnKey) {
  auto one = SpillFile::make(folder.c_str());
  auto two = SpillFile::make(folder.c_str());
  ASSERT_TRUE(one && two);
  ASSERT_TRUE(one->append("same") && two->append("same"));
  char bytes[4];
  ASSERT_TRUE(one->read(0, bytes, sizeof bytes));
  EXPECT_EQ(std::string_view(bytes, 4), "same");
}

TEST_F(KeptBodyTest, BeyondTheMemoryOfAllItGoesToAFileAtOnce) {
  std::vector<std::unique_ptr<KeptBody>> others;
  const std::string full(KeptBody::kInMemory, 'x');
  while (memory.has_room(full.size())) {
    others.push_back(std::make_unique<KeptBody>(memory, folder));
    ASSERT_TRUE(others.back()->append(full));
  }
  KeptBody body(memory, folder);
  ASSERT_TRUE(body.append(full));
  EXPECT_TRUE(body.start().empty());
  ASSERT_NE(body.rest(), nullptr);
  EXPECT_EQ(whole(body), full);
}

TEST_F(KeptBodyTest, AFolderThatIsNotThereIsSaid) {
  const std::string missing = folder + "/missing";
  KeptBody body(memory, missing);
  EXPECT_FALSE(body.append(std::string(KeptBody::kInMemory + 1, 'x')));
}

}  // namespace
}  // namespace gpuward::gateway
