#pragma once
// The parts of a report page as HTML, each empty or a note where there is nothing to show. Figures that they
// show are added to `figures`.

#include <string>
#include <vector>

#include "model/report.h"

namespace moe {

// Numbers of the first run at a glance; several runs side by side.
std::string facts_html(const ReportInput&, const RoutingWindow* recent);
std::string runs_html(const ReportInput&);
std::string training_html(const ReportInput&, std::vector<Figure>& figures);
std::string experts_html(const ReportInput&, const RoutingWindow* recent, std::vector<Figure>& figures);
std::string symbols_html(const ReportInput&, const RoutingWindow* recent, std::vector<Figure>& figures);
std::string map_html(const ReportInput&);

// A figure, with its caption unless the text around it says it, and room for the script's table of numbers.
std::string figure_html(const Figure&, bool with_caption);
// Radio buttons for layers 0 .. count - 1, the last one chosen; seen only when the script runs.
std::string layer_choice_html(const std::string& id, const std::string& panels, int64_t count);
std::string note_html(std::string_view text);
// What the script needs of the map.
nlohmann::json map_json(const RoutingMap&);

}  // namespace moe
