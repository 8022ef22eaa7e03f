#pragma once
// The curves of a report.

#include <optional>
#include <string>
#include <vector>

#include "model/report_figure.h"
#include "model/run_history.h"

namespace moe {

struct Curve {
  std::string label;
  Series points;                     // what the line goes through; few enough to draw
  std::string style;                 // CSS classes of report_figure.css, such as "c0 dashed"
  std::string color;                 // in place of a class with a colour
  Series low, high;                  // a band around the line, over the same steps as each other; or empty
  std::optional<Point> lowest = {};  // of all values, also those that the line leaves out: gets a circle
};

struct LinePlot {
  std::string id, title, caption;
  bool from_zero = false;  // the vertical axis begins at 0
  std::vector<Curve> curves;
};

// Without the first moments of a run or rare spikes, which would press all else together, the axis shows
// everything; with them, the line is cut at the upper edge.
Figure draw_lines(const LinePlot& plot);

// At most `most` points of the series, among them its first and its last.
Series thin(const Series& series, size_t most);
// Means over `radius` points on both sides (fewer at the ends), at the points of thin(series, most).
Series smooth(const Series& series, size_t radius, size_t most);

// Losses, learning rate, gradient norm and speed of one run or several; only what the runs have.
std::vector<Figure> draw_runs(const std::vector<RunHistory>& runs);
// Router entropy, load of the busiest expert and, where anything was dropped, the dropped share of each layer
// over time.
std::vector<Figure> draw_layers(const std::vector<RoutingWindow>& windows);

}  // namespace moe
