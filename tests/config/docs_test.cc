// docs/configuration.md shows configurations and real output; both are checked here.
#include <fstream>
#include <sstream>

#include "config/report.h"
#include "text.h"

namespace gpuward::config {
namespace {

struct Block {
  std::string language;
  std::string text;
};

std::vector<Block> code_blocks() {
  std::ifstream file(GPUWARD_SOURCE_DIR "/docs/configuration.md");
  std::stringstream all;
  all << file.rdbuf();
  std::vector<Block> blocks;
  bool inside = false;
  const std::string text = all.str();
  for (const std::string_view line : split_lines(text)) {
    if (line.starts_with("```")) {
      inside = !inside;
      if (inside) blocks.push_back({std::string(line.substr(3)), {}});
    } else if (inside) {
      blocks.back().text += std::string(line) + "\n";
    }
  }
  return blocks;
}

TEST(Docs, ConfigurationsParseAndTheErrorsShownAreReal) {
  const std::vector<Block> blocks = code_blocks();
  const Files files = {{"/srv/xray/.env", "A=1\n"}};
  int shown = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].language != "toml") continue;
    std::string output;
    for (const Problem& problem : parse_text(blocks[i].text, files).problems)
      output += render(problem) + "\n";
    const bool has_output = i + 1 < blocks.size() && blocks[i + 1].language == "text";
    EXPECT_EQ(output, has_output ? blocks[i + 1].text : "");
    ++shown;
  }
  EXPECT_GE(shown, 2);
}

}  // namespace
}  // namespace gpuward::config
