#include "model/report.h"

#include <set>

#include "core/file.h"
#include "model/palette.h"
#include "model/report_assets.h"
#include "model/report_heatmaps.h"
#include "model/report_sections.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPage = "report.html";
constexpr const char* kFolder = "report";

std::string expert_styles(const ReportInput& input) {
  std::string css;
  for (int64_t e = 0; input.map && e < input.map->experts; ++e)
    append_path(css, ".e{}{{background:{}}}", e, hex(expert_color(e)));
  return css;
}

std::string title_of(const ReportInput& input) {
  std::string title = input.runs.front().name;
  if (input.runs.size() > 1) title += fmt::format(" and {} more", input.runs.size() - 1);
  return title;
}

std::string head_html(const ReportInput& input) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src 'unsafe-inline'; img-src data:\"/>"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>"
      "<link rel=\"icon\" href=\"data:,\"/><title>{} – makemoe</title><style>{}{}{}</style></head>\n",
      escape_markup(title_of(input)), kReportFigureCss, kReportPageCss, expert_styles(input));
}

}  // namespace

Report make_report(const ReportInput& input) {
  require(!input.runs.empty(), "report: there is no run to report of");
  Report report;
  const auto& window = input.runs.front().routing.recent;
  const RoutingWindow* recent = window ? &*window : nullptr;

  std::string& html = report.html;
  html = head_html(input);
  html += fmt::format("<body><header><h1>{}</h1><p>{}</p>{}</header>", escape_markup(title_of(input)),
                      escape_markup(input.about), facts_html(input, recent));
  html +=
      "<nav><a href=\"#training\">Training</a><a href=\"#experts\">Experts</a><a "
      "href=\"#symbols\">Symbols</a>"
      "<a href=\"#map\">Routing map</a></nav>\n<main>";
  html += runs_html(input);
  html += training_html(input, report.figures) + '\n';
  html += experts_html(input, recent, report.figures) + '\n';
  html += symbols_html(input, recent, report.figures) + '\n';
  html += map_html(input) + "</main>\n<div id=\"tip\" role=\"status\" hidden=\"\"></div>\n";

  nlohmann::json data = {{"figures", nlohmann::json::object()}};
  for (const Figure& f : report.figures) data["figures"][f.id] = f.data;
  if (input.map) data["map"] = map_json(*input.map);
  html += fmt::format(
      "<script type=\"application/json\" id=\"data\">{}</script>\n<script>{}</script></body></html>\n",
      script_json(data), kReportJs);
  return report;
}

void write_report(const fs::path& folder, const Report& report, bool svg_files) {
  create_folder(folder);
  if (svg_files) {
    const fs::path figures = folder / kFolder;
    create_folder(figures);
    std::set<fs::path> written;
    for (const Figure& f : report.figures) {
      const fs::path path = figures / (f.id + ".svg");
      write_file(path, svg_file(f));
      written.insert(path);
    }
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(figures, ignored))
      if (entry.path().extension() == ".svg" && !written.contains(entry.path()))
        fs::remove(entry.path(), ignored);
  }
  write_file(folder / kPage, report.html);
}

}  // namespace moe
