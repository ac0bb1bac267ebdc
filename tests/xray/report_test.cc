#include "xray/report.h"

#include <gtest/gtest.h>
#include <string>

#include "made_films.h"
#include "xray/bytes.h"
#include "xray/stage_data.h"

namespace gpuward::xray {
namespace {

struct Sample {
  Prepared prepared;
  Measures measures;
};
const Sample& sample() {
  static const Sample kSample = [] {
    auto film = decode(as_bytes(film_bytes("nih_00000003_000.png")), 64'000'000);
    auto made = prepare(film.value());
    auto measures = measure(made);
    return Sample{std::move(made), measures};
  }();
  return kSample;
}

TEST(Report, ChineseHasTheFiveSectionsInOrder) {
  const auto report = write_report(sample().prepared, sample().measures, Language::chinese);
  const std::string_view titles[] = {"胸廓结构", "肺部表现", "膈肌状态", "心影", "纵隔"};
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(report.sections[i].title, titles[i]);
  EXPECT_NE(report.summary.find("不是诊断"), std::string::npos);
  EXPECT_NE(report.sections[0].text.find("1024 × 1024"), std::string::npos);
}

TEST(Report, EnglishSaysTheSameFigures) {
  const auto report = write_report(sample().prepared, sample().measures, Language::english);
  EXPECT_EQ(report.sections[3].title, "Heart shadow");
  EXPECT_NE(report.summary.find("no diagnosis"), std::string::npos);
  const auto ratio = std::to_string(sample().measures.heart_thorax_ratio).substr(0, 3);
  EXPECT_NE(report.sections[3].text.find(ratio), std::string::npos);
}

TEST(Report, WithoutFieldsNothingIsInvented) {
  for (const auto language : {Language::chinese, Language::english}) {
    const auto report = write_report(sample().prepared, {}, language);
    const auto* wanted = language == Language::chinese ? "未测量" : "not measured";
    for (const auto& section : report.sections)
      EXPECT_NE(section.text.find(wanted), std::string::npos) << section.text;
  }
}

TEST(Report, TheNonceComesBack) {
  const auto text = film_json(sample().prepared, sample().measures, Language::english, "n-42");
  EXPECT_NE(text.find("\"nonce\":\"n-42\""), std::string::npos);
  EXPECT_EQ(film_json(sample().prepared, sample().measures, Language::english, "").find("nonce"),
            std::string::npos);
}

TEST(Language, FollowsTheWeights) {
  EXPECT_EQ(choose_language(""), Language::chinese);
  EXPECT_EQ(choose_language("en"), Language::english);
  EXPECT_EQ(choose_language("en-GB, zh;q=0.9"), Language::english);
  EXPECT_EQ(choose_language("en;q=0.3,zh-CN;q=0.8"), Language::chinese);
  EXPECT_EQ(choose_language("ZH-tw"), Language::chinese);
  EXPECT_EQ(choose_language("fr, de;q=0.5"), Language::english);
  EXPECT_EQ(choose_language("fr, *;q=0.1"), Language::chinese);
  EXPECT_EQ(choose_language("zh;q=0, *"), Language::english);
  EXPECT_EQ(choose_language("en;q=abc"), Language::chinese);
  EXPECT_EQ(choose_language("zhx"), Language::english) << "another language, not Chinese";
  EXPECT_EQ(choose_language(";;,,;q=,"), Language::chinese);
}

TEST(StageData, SurvivesTheWayThroughAChild) {
  const ReportOrder order{sample().prepared, "n", Language::english};
  const auto bytes = encode(order);
  const auto back = decode_order(as_bytes(bytes));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->nonce, "n");
  EXPECT_EQ(back->language, Language::english);
  EXPECT_EQ(back->prepared.enhanced, sample().prepared.enhanced);
  for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 50)
    EXPECT_FALSE(decode_order(as_bytes(std::string_view(bytes).substr(0, size))));
}

TEST(StageData, AProblemKeepsItsNumbers) {
  const auto bytes = encode_answer(refuse(503, "out_of_memory", "CUDA out of memory", {{"a", 7}}));
  const auto back = decode_answer(as_bytes(bytes));
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().status, 503U);
  EXPECT_EQ(back.error().reason, "CUDA out of memory");
  EXPECT_EQ(back.error().numbers, (Numbers{{"a", 7}}));
  EXPECT_FALSE(decode_answer({}));
}

}  // namespace
}  // namespace gpuward::xray
