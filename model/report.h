#pragma once
// report.html: a run, or several compared, as one page that stands alone: inline SVG and a little script, no
// network. How it looks is in report_page.css and report_figure.css, what the pointer shows in report.js.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/report_figure.h"
#include "model/routing_map.h"
#include "model/run_history.h"

namespace moe {

struct ReportInput {
  std::vector<RunHistory> runs;      // at least one; the first is the one whose experts are shown
  std::string about;                 // one line on the first run's model; may be empty
  std::vector<std::string> symbols;  // text by token id; empty when the model is not there
  std::optional<RoutingMap> map;     // with its pieces
  std::string map_note;              // where the map's text comes from, or why there is no map
};

struct Report {
  std::string html;
  std::vector<Figure> figures;  // those in the page
};
// Whatever is missing from the input is said to be missing in the page.
Report make_report(const ReportInput&);

// Replaces FOLDER/report.html in one move; with `svg_files`, writes each figure as FOLDER/report/ID.svg too,
// where figures of an older report go away. Throws ErrorKind::resource.
void write_report(const std::filesystem::path& folder, const Report&, bool svg_files = true);

}  // namespace moe
