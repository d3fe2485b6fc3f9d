// SPDX-License-Identifier: BSD-3-Clause
//
// A Picture in Graphviz' dot language: one table per kernel, whose columns
// stand below each other through all kernels.
#include <algorithm>
#include <iterator>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "sim/cli/picture.h"

namespace sim::cli {
namespace {

// A part of memory that no huge page of the history ever had a border in.
struct Column {
  uint64_t from = 0;
  uint64_t to = 0;
  int node = 0;
};

struct Style {
  const char* fill;
  const char* text;
  const char* name;
};
constexpr Style kStyles[kUses] = {
    {"#d6efcb", "#3c6b2c", "free in the pool"},
    {"#bcd9fb", "#123a6b", "in a file"},
    {"#3d77c9", "#ffffff", "in a file, preserved for the next kernel"},
    {"#ffd75e", "#5c4300", "handed over, nobody asked for it yet"},
    {"#e5534b", "#ffffff", "quarantined"},
    {"#d9c7f2", "#4a2a80", "private copy, or held by a device only"},
};
constexpr char kNoPage[] = "#f7f7f7";
constexpr int kColumnWidth = 34;
constexpr int kRowHeight = 15;

std::string Escape(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// Lines of at most `width` characters, broken at spaces where there are any.
std::string Wrap(const std::string& text, size_t width) {
  std::string out;
  size_t at = 0;
  while (text.size() - at > width) {
    size_t space = text.rfind(' ', at + width);
    if (space == std::string::npos || space <= at) space = at + width;
    absl::StrAppend(&out, Escape(text.substr(at, space - at)),
                    "<BR ALIGN=\"LEFT\"/>");
    at = space + (text[space] == ' ');
  }
  return absl::StrCat(out, Escape(text.substr(at)), "<BR ALIGN=\"LEFT\"/>");
}

class Drawing {
 public:
  Drawing(const ::handover::model::History& history,
          const std::vector<PictureKernel>& kernels)
      : history_(history), kernels_(kernels) {
    FindColumns();
    for (const PictureKernel& kernel : kernels_)
      for (const PictureRow& row : kernel.rows) {
        text_width_ = std::max(text_width_, row.text.size());
        result_width_ = std::max(result_width_, row.result.size());
      }
    text_width_ = std::min<size_t>(text_width_, 58);
  }

  std::string Draw(const std::string& title) {
    absl::StrAppend(
        &out_,
        "digraph history {\n"
        "  graph [rankdir=TB, nodesep=0.1, ranksep=0.35, bgcolor=white,\n"
        "         fontname=\"Helvetica\", fontsize=12];\n"
        "  node [shape=plain, fontname=\"Helvetica\", fontsize=9];\n"
        "  edge [fontname=\"Helvetica\", fontsize=10, color=\"#666666\",\n"
        "        fontcolor=\"#444444\", penwidth=1.5];\n");
    Legend(title);
    for (size_t k = 0; k < kernels_.size(); ++k) Kernel(k);
    out_ += "  legend -> k0 [style=invis];\n";
    for (size_t k = 1; k < kernels_.size(); ++k)
      absl::StrAppend(&out_, "  k", k - 1, " -> k", k, " [label=\"  ",
                      kernels_[k].how,
                      kernels_[k].how == "kexec"
                          ? ": what is preserved stays, everything else is lost"
                          : ": everything is lost",
                      "\"];\n");
    out_ += "}\n";
    return std::move(out_);
  }

 private:
  void FindColumns() {
    std::set<uint64_t> borders;
    std::set<std::pair<uint64_t, uint64_t>> used;
    std::map<uint64_t, int> node_of;
    for (const PictureKernel& kernel : kernels_)
      for (const PictureRow& row : kernel.rows)
        for (const UsedPage& page : row.pages) {
          borders.insert(page.pfn);
          borders.insert(page.pfn + page.frames);
          used.insert({page.pfn, page.pfn + page.frames});
          node_of[page.pfn] = page.node;
        }
    for (auto it = borders.begin();
         it != borders.end() && std::next(it) != borders.end(); ++it) {
      for (const auto& [from, to] : used) {
        if (from > *it || to < *std::next(it)) continue;
        columns_.push_back({*it, *std::next(it), node_of[from]});
        break;
      }
    }
    std::stable_sort(
        columns_.begin(), columns_.end(),
        [](const Column& a, const Column& b) { return a.node < b.node; });
  }

  void Legend(const std::string& title) {
    absl::StrAppend(
        &out_,
        "  legend [label=<<TABLE BORDER=\"0\" CELLBORDER=\"0\" "
        "CELLSPACING=\"3\"><TR><TD COLSPAN=\"",
        2 * kUses + 2, "\" ALIGN=\"LEFT\"><FONT POINT-SIZE=\"15\"><B>",
        Escape(title), "</B></FONT></TD></TR><TR><TD COLSPAN=\"", 2 * kUses + 2,
        "\" ALIGN=\"LEFT\"><FONT POINT-SIZE=\"10\">Time goes down, one command "
        "a line; memory goes across, by NUMA node and address. Each cell is a "
        "huge page, or a part of one: f0[3] is page 3 of file f0. A label "
        "stands where something changed.</FONT></TD></TR><TR>");
    for (const Style& style : kStyles)
      absl::StrAppend(&out_, "<TD BGCOLOR=\"", style.fill,
                      "\" WIDTH=\"22\" BORDER=\"1\" COLOR=\"#999999\"> </TD>"
                      "<TD ALIGN=\"LEFT\">",
                      style.name, "  </TD>");
    absl::StrAppend(&out_, "<TD BGCOLOR=\"", kNoPage,
                    "\" WIDTH=\"22\" BORDER=\"1\" COLOR=\"#999999\"> </TD>"
                    "<TD ALIGN=\"LEFT\">no huge page</TD></TR></TABLE>>];\n");
  }

  int ColumnsOf(int node) const {
    return static_cast<int>(
        std::count_if(columns_.begin(), columns_.end(),
                      [node](const Column& c) { return c.node == node; }));
  }

  // Step, command, result, the columns, a gap before each node.
  int Width() const {
    std::set<int> nodes;
    for (const Column& column : columns_) nodes.insert(column.node);
    return 3 + static_cast<int>(columns_.size() + nodes.size());
  }

  void Kernel(size_t k) {
    const PictureKernel& kernel = kernels_[k];
    absl::StrAppend(&out_, "  subgraph cluster_", k,
                    " {\n    style=rounded; color=\"#888888\"; margin=8; "
                    "label=\"\";\n    k",
                    k,
                    " [label=<<TABLE BORDER=\"0\" CELLBORDER=\"0\" "
                    "CELLSPACING=\"0\" CELLPADDING=\"1\">\n");
    absl::StrAppend(&out_, "<TR><TD COLSPAN=\"", Width(),
                    "\" ALIGN=\"LEFT\"><FONT POINT-SIZE=\"12\"><B>kernel ",
                    kernel.number, "</B>  ", Escape(kernel.command_line),
                    "</FONT></TD></TR>\n");
    Heading();
    const std::vector<UsedPage>* before = nullptr;
    for (const PictureRow& row : kernel.rows) {
      Row(row, before);
      before = &row.pages;
    }
    out_ += "</TABLE>>];\n  }\n";
  }

  void Heading() {
    absl::StrAppend(&out_, "<TR><TD COLSPAN=\"3\"></TD>");
    int last = -1;
    for (const Column& column : columns_) {
      if (column.node == last) continue;
      last = column.node;
      absl::StrAppend(&out_, "<TD WIDTH=\"10\"></TD><TD COLSPAN=\"",
                      ColumnsOf(last), "\" ALIGN=\"LEFT\"><B>node ", last,
                      "</B></TD>");
    }
    out_ +=
        "</TR>\n<TR><TD COLSPAN=\"3\" ALIGN=\"RIGHT\"><FONT "
        "POINT-SIZE=\"7\" COLOR=\"#777777\">first frame, size  "
        "</FONT></TD>";
    last = -1;
    for (const Column& column : columns_) {
      if (column.node != last) out_ += "<TD></TD>";
      last = column.node;
      absl::StrAppend(
          &out_, "<TD WIDTH=\"", kColumnWidth,
          "\" ALIGN=\"LEFT\"><FONT "
          "POINT-SIZE=\"7\" COLOR=\"#777777\">",
          column.from, "<BR ALIGN=\"LEFT\"/>",
          ::handover::model::PrintSize((column.to - column.from) * 4096),
          "<BR ALIGN=\"LEFT\"/></FONT></TD>");
    }
    out_ += "</TR>\n";
  }

  static const UsedPage* PageAt(const std::vector<UsedPage>& pages,
                                uint64_t pfn) {
    auto it = std::upper_bound(
        pages.begin(), pages.end(), pfn,
        [](uint64_t p, const UsedPage& page) { return p < page.pfn; });
    if (it == pages.begin()) return nullptr;
    --it;
    return pfn < it->pfn + it->frames ? &*it : nullptr;
  }

  // What stands in the cell of a page: its name where it is new, and what the
  // command did to it.
  static std::string Label(const UsedPage& page, const PictureRow& row,
                           const std::vector<UsedPage>* before) {
    const UsedPage* was = before ? PageAt(*before, page.pfn) : nullptr;
    const bool same = was != nullptr && was->pfn == page.pfn &&
                      was->frames == page.frames && was->use == page.use &&
                      was->label == page.label;
    if (same && !row.touch.empty() && row.touched >= page.pfn &&
        row.touched < page.pfn + page.frames)
      return row.touch;
    if (same) return "";
    switch (page.use) {
      case Use::kFree:
        return before == nullptr ? "boot" : "free";
      case Use::kOther:
        return "other";
      default:
        return page.label;
    }
  }

  void Row(const PictureRow& row, const std::vector<UsedPage>* before) {
    const char* colour = row.broke    ? "#c00000"
                         : row.failed ? "#a04000"
                                      : "#000000";
    absl::StrAppend(
        &out_, "<TR><TD ALIGN=\"RIGHT\" HEIGHT=\"", kRowHeight,
        "\"><FONT COLOR=\"#999999\">",
        row.step >= 0 ? absl::StrCat(row.step) : std::string(),
        "  </FONT></TD><TD ALIGN=\"LEFT\" BALIGN=\"LEFT\" WIDTH=\"",
        text_width_ * 6, "\"><FONT FACE=\"DejaVu Sans Mono\" COLOR=\"", colour,
        "\">", Wrap(row.text, text_width_),
        "</FONT></TD><TD ALIGN=\"LEFT\" WIDTH=\"", result_width_ * 6 + 8,
        "\"><FONT FACE=\"DejaVu Sans Mono\" COLOR=\"", colour, "\">",
        Escape(row.result), " </FONT></TD>");
    int last = -1;
    for (size_t i = 0; i < columns_.size();) {
      if (columns_[i].node != last) out_ += "<TD></TD>";
      last = columns_[i].node;
      const UsedPage* page = PageAt(row.pages, columns_[i].from);
      size_t span = 1;
      if (page == nullptr) {
        absl::StrAppend(&out_, "<TD BORDER=\"1\" COLOR=\"#eeeeee\" BGCOLOR=\"",
                        kNoPage, "\"></TD>");
      } else {
        while (i + span < columns_.size() &&
               columns_[i + span].from < page->pfn + page->frames &&
               columns_[i + span].from > page->pfn)
          ++span;
        const Style& style = kStyles[static_cast<int>(page->use)];
        const std::string label = Label(*page, row, before);
        absl::StrAppend(&out_, "<TD BORDER=\"1\" COLOR=\"#ffffff\" COLSPAN=\"",
                        span, "\" BGCOLOR=\"", style.fill, "\">");
        if (!label.empty())
          absl::StrAppend(&out_, "<FONT POINT-SIZE=\"8\" COLOR=\"", style.text,
                          "\">", Escape(label), "</FONT>");
        out_ += "</TD>";
      }
      i += span;
    }
    out_ += "</TR>\n";
    for (const std::string& note : row.notes)
      absl::StrAppend(&out_, "<TR><TD></TD><TD COLSPAN=\"", Width() - 1,
                      "\" ALIGN=\"LEFT\" BALIGN=\"LEFT\"><FONT COLOR=\"",
                      row.broke ? "#c00000" : "#666666", "\">", Wrap(note, 150),
                      "</FONT></TD></TR>\n");
  }

  const ::handover::model::History& history_;
  const std::vector<PictureKernel>& kernels_;
  std::vector<Column> columns_;
  size_t text_width_ = 20;
  size_t result_width_ = 4;
  std::string out_;
};

}  // namespace

std::string Picture::Dot(const std::string& title) const {
  return Drawing(history_, kernels_).Draw(title);
}

}  // namespace sim::cli
