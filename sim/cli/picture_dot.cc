// SPDX-License-Identifier: BSD-3-Clause
//
// A Picture in Graphviz' dot language: one node, a table with a box for each
// kernel. The boxes' grids have the same columns, of the same widths.
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
    {"#3d77c9", "#ffffff", "in a file that a session holds, and preserved"},
    {"#4fc3bd", "#063b38", "in such a file, not preserved yet (filled late)"},
    {"#ffd75e", "#5c4300", "handed over, nobody asked for it yet"},
    {"#e5534b", "#ffffff", "quarantined"},
    {"#d9c7f2", "#4a2a80",
     "in use otherwise: private copy, device, waiting fault"},
};
constexpr char kNoPage[] = "#f7f7f7";
// In points: what characters take at the sizes of text below.
constexpr double kLabelCharacter = 4.9;
constexpr double kCodeCharacter = 5.7;
constexpr double kTextCharacter = 5.2;
constexpr size_t kMinColumnWidth = 34;
constexpr size_t kGap = 10;
constexpr size_t kStepWidth = 26;
constexpr size_t kMinWidth = 640;
constexpr size_t kMaxText = 58;
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
    FindWidths();
  }

  std::string Draw(const std::string& title) {
    out_ =
        "digraph history {\n"
        "  graph [bgcolor=white];\n"
        "  node [shape=plain, fontname=\"Helvetica\", fontsize=9];\n"
        "  picture [label=<<TABLE BORDER=\"0\" CELLBORDER=\"0\" "
        "CELLSPACING=\"0\" CELLPADDING=\"2\">\n";
    Legend(title);
    for (const PictureKernel& kernel : kernels_) {
      if (&kernel != &kernels_.front()) Arrow(kernel);
      Kernel(kernel);
    }
    out_ += "</TABLE>>];\n}\n";
    return std::move(out_);
  }

 private:
  // The same in all kernels, so that columns stand below each other.
  void FindWidths() {
    size_t label = 0;
    for (const PictureKernel& kernel : kernels_) {
      const std::vector<UsedPage>* before = nullptr;
      for (const PictureRow& row : kernel.rows) {
        text_width_ = std::max(text_width_, row.text.size());
        result_width_ = std::max(result_width_, row.result.size() + 2);
        for (const UsedPage& page : row.pages)
          label = std::max(label, Label(page, row, before).size());
        before = &row.pages;
      }
    }
    text_width_ = std::min(text_width_, kMaxText);
    column_width_ = std::max(kMinColumnWidth, Points(label, kLabelCharacter));
    std::set<int> nodes;
    for (const Column& column : columns_) nodes.insert(column.node);
    width_ = std::max(
        kMinWidth, kStepWidth + Points(text_width_, kCodeCharacter) +
                       Points(result_width_, kCodeCharacter) +
                       columns_.size() * column_width_ + nodes.size() * kGap);
  }

  static size_t Points(size_t characters, double each) {
    return static_cast<size_t>(static_cast<double>(characters) * each) + 8;
  }

  // Text that stands across a kernel's box.
  std::string Across(const std::string& text) const {
    return Wrap(text, static_cast<size_t>(static_cast<double>(width_) /
                                          kTextCharacter));
  }

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

  void LegendEntry(const char* fill, const char* name) {
    absl::StrAppend(&out_, "<TD BGCOLOR=\"", fill,
                    "\" WIDTH=\"22\" HEIGHT=\"13\" BORDER=\"1\" "
                    "COLOR=\"#999999\"> </TD><TD ALIGN=\"LEFT\">",
                    name, "  </TD>");
  }

  void Legend(const std::string& title) {
    constexpr int kInARow = 3;
    absl::StrAppend(
        &out_, "<TR><TD ALIGN=\"LEFT\"><FONT POINT-SIZE=\"15\"><B>",
        Escape(title),
        "</B></FONT></TD></TR>\n<TR><TD ALIGN=\"LEFT\" BALIGN=\"LEFT\">",
        Across("Time goes down, one command a line; memory goes across, by "
               "NUMA node and address. Each cell is a huge page or a part of "
               "one; f0[3] is page 3 of file f0. A label stands where "
               "something changed or was done: write, read, pin (a device was "
               "set up), dma (it wrote). Numbers above a column: its first "
               "frame, counted in 4 KiB, and its size. Results are hexadecimal "
               "values or errnos; * means that more stands below the box's "
               "grid."),
        "</TD></TR>\n<TR><TD ALIGN=\"LEFT\"><TABLE BORDER=\"0\" "
        "CELLBORDER=\"0\" CELLSPACING=\"3\">");
    for (int i = 0; i <= kUses; ++i) {
      if (i % kInARow == 0) out_ += "<TR>";
      if (i < kUses) {
        LegendEntry(kStyles[i].fill, kStyles[i].name);
      } else {
        LegendEntry(kNoPage, "no huge page");
      }
      if (i % kInARow == kInARow - 1 || i == kUses) out_ += "</TR>";
    }
    out_ += "</TABLE></TD></TR>\n";
  }

  // Between two boxes.
  void Arrow(const PictureKernel& next) {
    absl::StrAppend(&out_,
                    "<TR><TD ALIGN=\"LEFT\"><FONT POINT-SIZE=\"11\" "
                    "COLOR=\"#444444\">  <FONT POINT-SIZE=\"18\">&#8595;</FONT>"
                    "  ",
                    next.how,
                    next.how == "kexec"
                        ? ": what is preserved stays, everything else is lost"
                        : ": everything is lost",
                    "</FONT></TD></TR>\n");
  }

  int ColumnsOf(int node) const {
    return static_cast<int>(
        std::count_if(columns_.begin(), columns_.end(),
                      [node](const Column& c) { return c.node == node; }));
  }

  void Kernel(const PictureKernel& kernel) {
    absl::StrAppend(
        &out_,
        "<TR><TD ALIGN=\"LEFT\"><TABLE BORDER=\"1\" STYLE=\"ROUNDED\" "
        "COLOR=\"#888888\" CELLBORDER=\"0\" CELLSPACING=\"0\" "
        "CELLPADDING=\"4\">\n<TR><TD ALIGN=\"LEFT\" BALIGN=\"LEFT\">"
        "<FONT POINT-SIZE=\"12\"><B>kernel ",
        kernel.number, "</B></FONT>  ", Across(kernel.command_line),
        "</TD></TR>\n<TR><TD ALIGN=\"LEFT\"><TABLE BORDER=\"0\" "
        "CELLBORDER=\"0\" CELLSPACING=\"0\" CELLPADDING=\"1\">\n");
    Heading();
    const std::vector<UsedPage>* before = nullptr;
    for (const PictureRow& row : kernel.rows) {
      Row(row, before);
      before = &row.pages;
    }
    out_ += "</TABLE></TD></TR>\n";
    for (const PictureRow& row : kernel.rows)
      for (const std::string& note : row.notes) Note(row, note);
    out_ += "</TABLE></TD></TR>\n";
  }

  void Note(const PictureRow& row, const std::string& note) {
    const bool broken = note.rfind("BROKEN ", 0) == 0;
    absl::StrAppend(
        &out_, "<TR><TD ALIGN=\"LEFT\" BALIGN=\"LEFT\"><FONT COLOR=\"",
        broken ? "#c00000" : "#555555", "\">",
        Across(absl::StrCat(Step(row), ": ", note)), "</FONT></TD></TR>\n");
  }

  static std::string Step(const PictureRow& row) {
    return row.step >= 0 ? absl::StrCat(row.step) : std::string("boot");
  }

  void Heading() {
    absl::StrAppend(&out_, "<TR><TD COLSPAN=\"3\"></TD>");
    int last = -1;
    for (const Column& column : columns_) {
      if (column.node == last) continue;
      last = column.node;
      absl::StrAppend(&out_, "<TD WIDTH=\"", kGap, "\"></TD><TD COLSPAN=\"",
                      ColumnsOf(last), "\" ALIGN=\"LEFT\"><B>node ", last,
                      "</B></TD>");
    }
    out_ += "</TR>\n<TR>";
    for (const char* name : {"step", "command", "result"})
      absl::StrAppend(&out_,
                      "<TD ALIGN=\"LEFT\" VALIGN=\"BOTTOM\"><FONT "
                      "POINT-SIZE=\"7\" COLOR=\"#777777\">",
                      name, "</FONT></TD>");
    last = -1;
    for (const Column& column : columns_) {
      if (column.node != last) out_ += "<TD></TD>";
      last = column.node;
      absl::StrAppend(&out_, "<TD WIDTH=\"", column_width_,
                      "\" ALIGN=\"LEFT\"><FONT "
                      "POINT-SIZE=\"7\" COLOR=\"#777777\">",
                      column.from, "<BR ALIGN=\"LEFT\"/>",
                      Size((column.to - column.from) * 4096),
                      "<BR ALIGN=\"LEFT\"/></FONT></TD>");
    }
    out_ += "</TR>\n";
  }

  // "64 KiB".
  static std::string Size(uint64_t bytes) {
    std::string size = ::handover::model::PrintSize(bytes);
    return absl::StrCat(size.substr(0, size.size() - 1), " ",
                        size.substr(size.size() - 1), "iB");
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
    const bool touched =
        row.touched >= page.pfn && row.touched < page.pfn + page.frames;
    if (same) return touched ? row.touch : "";
    switch (page.use) {
      case Use::kFree:
        return before == nullptr ? "boot" : "free";
      case Use::kOther:
        return "other";
      default:
        // That a device has it matters more than that it came with that.
        return touched && row.touch == "pin" ? page.label + " pin" : page.label;
    }
  }

  void Row(const PictureRow& row, const std::vector<UsedPage>* before) {
    const char* colour = row.broke    ? "#c00000"
                         : row.failed ? "#a04000"
                                      : "#000000";
    absl::StrAppend(
        &out_, "<TR><TD ALIGN=\"RIGHT\" WIDTH=\"", kStepWidth, "\" HEIGHT=\"",
        kRowHeight, "\"><FONT COLOR=\"#999999\">",
        row.step >= 0 ? absl::StrCat(row.step) : std::string(),
        "  </FONT></TD><TD ALIGN=\"LEFT\" BALIGN=\"LEFT\" WIDTH=\"",
        Points(text_width_, kCodeCharacter),
        "\"><FONT FACE=\"DejaVu Sans Mono\" COLOR=\"", colour, "\">",
        Wrap(row.text, text_width_), "</FONT></TD><TD ALIGN=\"LEFT\" WIDTH=\"",
        Points(result_width_, kCodeCharacter),
        "\"><FONT FACE=\"DejaVu Sans Mono\" COLOR=\"", colour, "\">",
        Escape(row.result), row.notes.empty() ? " " : " *", "</FONT></TD>");
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
  }

  const ::handover::model::History& history_;
  const std::vector<PictureKernel>& kernels_;
  std::vector<Column> columns_;
  size_t text_width_ = 20;
  size_t result_width_ = 6;
  size_t column_width_ = kMinColumnWidth;
  size_t width_ = kMinWidth;  // of a box
  std::string out_;
};

}  // namespace

std::string Picture::Dot(const std::string& title) const {
  return Drawing(history_, kernels_).Draw(title);
}

}  // namespace sim::cli
