// SPDX-License-Identifier: BSD-3-Clause
//
// The document that `handover explore` writes. What it says of the designs
// takes a while to find, and is model/explorer_test.cc's.
#include "sim/cli/explore.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/explorer_report.h"

namespace sim::cli {
namespace {

using ::handover::model::Atomicity;

std::string Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class WriteDocumentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(::testing::TempDir(), "/handover-explore-test-",
                           getpid(), "/");
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static Atomicity Report() {
    Atomicity report;
    report.text = "New.\n";
    for (const char* name : {"missing", "other", "same"})
      report.pictures.push_back(
          {name, absl::StrCat("digraph g {\n  ", name, ";\n}\n")});
    return report;
  }

  std::string folder_;
};

TEST_F(WriteDocumentTest, WritesTheTextAndThePicturesThatAreOthers) {
  const std::string document = folder_ + "page.md",
                    pictures = folder_ + "atomicity/";
  std::ofstream(document) << "Before.\n<!-- handover explore: begin -->\nOld.\n"
                             "<!-- handover explore: end -->\nAfter.\n";
  std::filesystem::create_directories(pictures);
  std::ofstream(pictures + "other.svg") << "<svg></svg>";
  const std::string same = ::handover::model::WithSource(
      "<svg>not drawn anew</svg>", Report().pictures[2].dot);
  std::ofstream(pictures + "same.svg") << same;
  const absl::Status status = WriteDocument(document, &Report);
  ASSERT_TRUE(status.ok()) << status;

  EXPECT_EQ(Content(document),
            "Before.\n<!-- handover explore: begin -->\nNew.\n"
            "<!-- handover explore: end -->\nAfter.\n");
  for (const char* name : {"missing", "other"}) {
    const std::string svg = Content(absl::StrCat(pictures, name, ".svg"));
    EXPECT_TRUE(Contains(svg, absl::StrCat("<![CDATA[\ndigraph g {\n  ", name)))
        << svg;
    EXPECT_TRUE(Contains(svg, "<ellipse")) << svg;
  }
  EXPECT_EQ(Content(pictures + "same.svg"), same);
}

TEST_F(WriteDocumentTest, LooksAtTheDocumentFirst) {
  auto explore = []() -> Atomicity {
    ADD_FAILURE() << "for nothing";
    return Atomicity();
  };
  EXPECT_FALSE(WriteDocument(folder_ + "none.md", explore).ok());
  const std::string document = folder_ + "page.md";
  std::ofstream(document) << "Without the comments.\n";
  const absl::Status status = WriteDocument(document, explore);
  EXPECT_TRUE(Contains(std::string(status.message()), document)) << status;
  EXPECT_TRUE(Contains(std::string(status.message()), "are missing")) << status;
  EXPECT_EQ(Content(document), "Without the comments.\n");
}

}  // namespace
}  // namespace sim::cli
