#include "model/report_plots.h"

#include <algorithm>
#include <cmath>

#include "model/number_text.h"
#include "model/palette.h"

namespace moe {
namespace {

constexpr double kWidth = 560, kHeight = 250, kLeft = 52, kTop = 28, kRight = 118, kBottom = 38;
constexpr size_t kMostPoints = 400;
constexpr double kLabelHeight = 13;

// The vertical span. What stands far above all else is left out, in the first moments of a run most of all.
void fit_values(const LinePlot& plot, Axes& axes) {
  std::vector<double> all, later;
  for (const Curve& c : plot.curves) {
    for (const Point& p : c.points) {
      all.push_back(p.value);
      if (static_cast<double>(p.step) > 0.05 * axes.x1) later.push_back(p.value);
    }
    if (c.lowest) all.push_back(c.lowest->value);
  }
  const auto [least, most] = std::ranges::minmax(all);
  double low = plot.from_zero ? std::min(0.0, least) : least, high = most;
  if (later.size() >= 5) {
    std::ranges::sort(later);
    const double usual = later[(later.size() - 1) * 99 / 100];
    if (usual > low && most - low > 1.8 * (usual - low)) high = low + 1.15 * (usual - low);
  }
  // What differs by less has no labels of its own.
  if (!(high - low > 1e-6 * std::max(std::abs(low), std::abs(high))))
    high = low + (low == 0 ? 1 : std::abs(low) * 0.1);
  const double margin = 0.04 * (high - low);
  axes.y0 = plot.from_zero && least >= 0 ? 0 : low - margin;
  axes.y1 = high + margin;
}

// What the line that leaves the plot at the upper edge reaches.
std::string draw_cut(const LinePlot& plot, const Axes& axes) {
  double most = axes.y1;
  for (const Curve& c : plot.curves)
    for (const Point& p : c.points) most = std::max(most, p.value);
  if (most == axes.y1) return "";
  return fmt::format("<text class=\"label end\" x=\"{:.1f}\" y=\"{:.1f}\">cut: it reaches {}</text>",
                     axes.right(), axes.top + 6, number_text(most));
}

void fit_steps(const LinePlot& plot, Axes& axes) {
  int64_t last = 1;
  for (const Curve& c : plot.curves)
    if (!c.points.empty()) last = std::max(last, c.points.back().step + 1);
  axes.x0 = 0;
  axes.x1 = static_cast<double>(last);
}

std::string color_of(const Curve& c, const char* property) {
  return c.color.empty() ? "" : fmt::format(" style=\"{}:{}\"", property, c.color);
}

std::string points_path(const Series& points, const Axes& axes) {
  std::string path;
  for (const Point& p : points)
    append_path(path, "{}{:.1f} {:.1f}", path.empty() ? 'M' : 'L', axes.x(static_cast<double>(p.step)),
                axes.y(p.value));
  return path;
}

std::string draw_curve(const Curve& c, const Axes& axes) {
  std::string out;
  if (!c.low.empty()) {
    std::string band = points_path(c.high, axes);
    for (auto p = c.low.rbegin(); p != c.low.rend(); ++p)
      append_path(band, "L{:.1f} {:.1f}", axes.x(static_cast<double>(p->step)), axes.y(p->value));
    append_path(out, "<path class=\"band {}\" d=\"{}z\"/>", c.style, band);
  }
  append_path(out, "<path class=\"line {}\"{} d=\"{}\"/>", c.style, color_of(c, "stroke"),
              points_path(c.points, axes));
  if (c.lowest)
    append_path(out,
                "<circle class=\"{}\" r=\"3\" cx=\"{:.1f}\" cy=\"{:.1f}\"><title>lowest: {} at step "
                "{}</title></circle>",
                c.style, axes.x(static_cast<double>(c.lowest->step)), axes.y(c.lowest->value),
                number_text(c.lowest->value), c.lowest->step);
  return out;
}

// Names at the lines' ends, moved apart where they would touch; of too many, some evenly chosen ones.
std::string draw_labels(const LinePlot& plot, const Axes& axes) {
  struct Label {
    const Curve* curve;
    double y;
  };
  const auto room = static_cast<size_t>(axes.height / kLabelHeight);
  const size_t every = (plot.curves.size() + room - 1) / room;
  std::vector<Label> labels;
  for (size_t i = 0; i < plot.curves.size(); i += every)
    labels.push_back(
        {&plot.curves[i], std::clamp(axes.y(plot.curves[i].points.back().value), axes.top, axes.bottom())});
  std::ranges::stable_sort(labels, {}, &Label::y);
  double next = axes.top;
  for (Label& l : labels) {
    l.y = std::max(l.y, next);
    next = l.y + kLabelHeight;
  }
  next = axes.bottom();
  for (auto l = labels.rbegin(); l != labels.rend(); ++l) {
    l->y = std::min(l->y, next);
    next = l->y - kLabelHeight;
  }
  std::string out;
  for (const Label& l : labels) {
    const std::string value = number_text(l.curve->points.back().value);
    append_path(out, "<text class=\"label {}\"{} x=\"{:.1f}\" y=\"{:.1f}\">{} {}</text>",
                l.curve->style.substr(0, 2), color_of(*l.curve, "fill"), axes.right() + 6, l.y + 4,
                escape_markup(shorten(l.curve->label, 16 - std::min<size_t>(8, value.size()))), value);
  }
  return out;
}

nlohmann::json curves_json(const LinePlot& plot) {
  nlohmann::json curves = nlohmann::json::array();
  for (const Curve& c : plot.curves) {
    nlohmann::json points = nlohmann::json::array();
    for (const Point& p : c.points) points.push_back({p.step, p.value});
    curves.push_back({{"label", c.label}, {"points", points}});
  }
  return curves;
}

// Smallest and largest value of the points around each of `at`, which are points of the series.
void add_band(const Series& series, const Series& at, size_t radius, Curve& curve) {
  size_t i = 0;
  for (const Point& p : at) {
    while (series[i].step < p.step) ++i;
    const auto begin = series.begin() + static_cast<ptrdiff_t>(i - std::min(i, radius));
    const auto end = series.begin() + static_cast<ptrdiff_t>(std::min(series.size(), i + radius + 1));
    const auto [low, high] =
        std::minmax_element(begin, end, [](auto& a, auto& b) { return a.value < b.value; });
    curve.low.push_back({p.step, low->value});
    curve.high.push_back({p.step, high->value});
  }
}

std::string run_class(size_t run) {
  return fmt::format("c{}", run % 8);
}

// A metric of every run that has it, smoothed when radius asks for it.
LinePlot metric_plot(const std::vector<RunHistory>& runs, const std::string& metric, size_t points_a_radius) {
  LinePlot plot;
  for (size_t r = 0; r < runs.size(); ++r) {
    const Series& all = runs[r].metric(metric);
    if (all.empty()) continue;
    const size_t radius = points_a_radius > 0 ? all.size() / points_a_radius : 0;
    Curve curve{runs.size() > 1 ? runs[r].name : "", smooth(all, radius, kMostPoints), run_class(r)};
    if (radius > 0 && runs.size() == 1) add_band(all, curve.points, radius, curve);
    plot.curves.push_back(std::move(curve));
  }
  return plot;
}

LinePlot loss_plot(const std::vector<RunHistory>& runs) {
  LinePlot plot{"loss", "Loss, nats a token",
                "Mean cross-entropy at the evaluations: solid validation, dashed training text. "
                "The circle is the lowest validation loss."};
  for (size_t r = 0; r < runs.size(); ++r) {
    const std::string prefix = runs.size() > 1 ? runs[r].name + " " : "";
    for (const auto& [metric, label, style] :
         {std::tuple("val_loss", "val", ""), std::tuple("train_loss", "train", " dashed")}) {
      const Series& all = runs[r].metric(metric);
      if (all.empty()) continue;
      Curve curve{prefix + label, thin(all, kMostPoints), run_class(r) + style};
      if (*style == 0 && all.size() > 1) curve.lowest = *std::ranges::min_element(all, {}, &Point::value);
      plot.curves.push_back(std::move(curve));
    }
  }
  return plot;
}

}  // namespace

Series thin(const Series& series, size_t most) {
  if (series.size() <= most) return series;
  Series thinned;
  for (size_t i = 0; i < most; ++i) thinned.push_back(series[i * (series.size() - 1) / (most - 1)]);
  return thinned;
}

Series smooth(const Series& series, size_t radius, size_t most) {
  Series smoothed = thin(series, most);
  size_t i = 0;
  for (Point& p : smoothed) {
    while (series[i].step < p.step) ++i;
    if (radius == 0) continue;
    const size_t begin = i - std::min(i, radius), end = std::min(series.size(), i + radius + 1);
    // Each window by itself: in sums over the whole series one large value would swallow all behind it.
    double sum = 0;
    for (size_t j = begin; j < end; ++j) sum += series[j].value;
    p.value = sum / static_cast<double>(end - begin);
  }
  return smoothed;
}

Figure draw_lines(const LinePlot& plot) {
  Axes axes{kLeft, kTop, kWidth - kLeft - kRight, kHeight - kTop - kBottom};
  fit_steps(plot, axes);
  fit_values(plot, axes);
  Figure figure{plot.id, plot.title, plot.caption, kWidth, kHeight};
  append_path(figure.body,
              "<clipPath id=\"clip-{}\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>",
              plot.id, axes.left, axes.top - 3, axes.width + 4, axes.height + 3);
  figure.body += draw_y_axis(axes) + draw_x_axis(axes);
  append_path(figure.body, "<g clip-path=\"url(#clip-{})\">", plot.id);
  for (const Curve& c : plot.curves) figure.body += draw_curve(c, axes);
  figure.body += "</g>" + draw_cut(plot, axes) + draw_labels(plot, axes);
  figure.data = {{"kind", "lines"}, {"axes", axes.json()}, {"curves", curves_json(plot)}};
  return figure;
}

std::vector<Figure> draw_runs(const std::vector<RunHistory>& runs) {
  std::vector<LinePlot> plots{loss_plot(runs)};
  const auto add = [&](const char* metric, const char* id, const char* title, const char* caption,
                       size_t points_a_radius, bool from_zero) {
    LinePlot plot = metric_plot(runs, metric, points_a_radius);
    plot.id = id;
    plot.title = title;
    plot.caption = caption;
    plot.from_zero = from_zero;
    plots.push_back(std::move(plot));
  };
  constexpr const char* kSmoothed =
      "Means over 2 % of the steps on either side; of a single run the band reaches from the smallest to the "
      "largest value there.";
  add("loss", "step-loss", "Loss of the training batches, nats a token", kSmoothed, 50, false);
  add("learning_rate", "learning-rate", "Learning rate", "As it was used.", 0, true);
  add("grad_norm", "gradient-norm", "Gradient norm, before clipping", kSmoothed, 50, true);
  add("tokens_per_second", "throughput", "Tokens a second", kSmoothed, 50, true);
  std::vector<Figure> figures;
  for (const LinePlot& plot : plots)
    if (!plot.curves.empty()) figures.push_back(draw_lines(plot));
  return figures;
}

std::vector<Figure> draw_layers(const std::vector<RoutingWindow>& windows) {
  if (windows.empty()) return {};
  const size_t layers = windows.back().layers.size();
  const auto draw = [&](const char* id, const std::string& title, const char* caption, bool from_zero,
                        auto&& value) {
    LinePlot plot{id, title, caption, from_zero};
    for (size_t l = 0; l < layers; ++l) {
      Curve curve{fmt::format("layer {}", l)};
      curve.color = hex(depth_color(static_cast<int64_t>(l), static_cast<int64_t>(layers)));
      for (const RoutingWindow& w : windows) curve.points.push_back({w.end - 1, value(w.layers[l])});
      plot.curves.push_back(std::move(curve));
    }
    return draw_lines(plot);
  };
  const double most = std::log(static_cast<double>(windows.back().experts));
  std::vector<Figure> figures{
      draw(
          "entropy", fmt::format("Router entropy, nats a token (at most {:.3f})", most),
          "Mean entropy of the softmax over all of a token's clean router logits: 0 when the router is sure, "
          "ln E when it is indifferent.",
          true, [](const LayerWindow& l) { return l.entropy(); }),
      draw("busiest", "Load of the busiest expert over the mean",
           "1 is perfect balance, E/k the worst there can be.", false,
           [](const LayerWindow& l) { return l.busiest_over_mean(); })};
  const bool dropped = std::ranges::any_of(windows, [](const RoutingWindow& w) {
    return std::ranges::any_of(w.layers, [](const LayerWindow& l) { return l.kept != l.load; });
  });
  if (dropped)
    figures.push_back(draw("dropped", "Dropped assignments, share of all",
                           "Assignments beyond the experts' capacity.", true,
                           [](const LayerWindow& l) { return l.dropped_share(); }));
  return figures;
}

}  // namespace moe
