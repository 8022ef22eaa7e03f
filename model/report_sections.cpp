#include "model/report_sections.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/number_text.h"
#include "model/palette.h"
#include "model/report_heatmaps.h"
#include "model/report_plots.h"

namespace moe {
namespace {

constexpr size_t kMostColumns = 120;  // of windows in a heatmap

const Point* lowest(const Series& series) {
  return series.empty() ? nullptr : &*std::ranges::min_element(series, {}, &Point::value);
}

double median(const Series& series) {
  std::vector<double> values = values_of(series);
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string fact(const char* name, const std::string& value, const std::string& more) {
  return fmt::format("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>", name, escape_markup(value),
                     escape_markup(more));
}

enum class Captions { each, none };

std::string grid(const char* kind, Captions captions, const std::vector<Figure>& figures) {
  std::string out = fmt::format("<div class=\"figures{}\">", kind);
  for (const Figure& f : figures) out += figure_html(f, captions == Captions::each);
  return out + "</div>";
}

void append(std::vector<Figure>& all, std::vector<Figure> figures) {
  for (Figure& f : figures) all.push_back(std::move(f));
}

std::string dead_text(const std::vector<DeadExpert>& dead, int64_t layer) {
  std::string out;
  for (const DeadExpert& d : dead)
    if (d.layer == layer) out += fmt::format("{}{}", out.empty() ? "" : ", ", d.expert);
  return out.empty() ? "none" : out;
}

std::string health_table(const RoutingWindow& recent, const RoutingWindow& last) {
  const std::vector<DeadExpert> dead = dead_experts(last);
  std::string out =
      "<div class=\"scroll\"><table id=\"health\"><thead><tr><th>Layer</th><th>Router "
      "entropy</th><th>Busiest over mean</th>"
      "<th>Idlest over mean</th><th>Dropped</th><th class=\"text\">Dead experts (no token in the last "
      "window)</th></tr></thead><tbody>";
  for (size_t l = 0; l < recent.layers.size(); ++l) {
    const LayerWindow& layer = recent.layers[l];
    const double mean =
        static_cast<double>(recent.tokens * recent.top_k) / static_cast<double>(recent.experts);
    const double least = static_cast<double>(*std::ranges::min_element(layer.load)) / mean;
    append_path(out,
                "<tr><td>{}</td><td>{:.3f} nats</td><td>{:.2f}×</td><td>{:.2f}×</td><td>{:.2f} %</td><td "
                "class=\"text\">{}</td></tr>",
                l, layer.entropy(), layer.busiest_over_mean(), least, 100 * layer.dropped_share(),
                dead_text(dead, static_cast<int64_t>(l)));
  }
  return out + "</tbody></table></div>";
}

// The symbols of a layer with the largest score, as text.
template <class Score>
std::string best_symbols(const LayerWindow& layer, const std::vector<std::string>& symbols, Score&& score) {
  constexpr size_t kShown = 12;
  std::vector<std::pair<double, int32_t>> ranked;
  for (const auto& [id, counts] : layer.symbols)
    if (const double s = id == kOtherSymbols ? 0 : score(counts); s > 0) ranked.emplace_back(-s, id);
  std::ranges::sort(ranked);
  std::string out;
  for (size_t i = 0; i < std::min(kShown, ranked.size()); ++i)
    append_path(out, "<code title=\"{:.1f} %\">{}</code>", -100 * ranked[i].first,
                escape_markup(symbol_name(ranked[i].second, symbols)));
  return out;
}

std::string expert_table(const RoutingWindow& window, size_t index, const std::vector<std::string>& symbols) {
  const LayerWindow& layer = window.layers[index];
  const auto asked = static_cast<double>(window.tokens * window.top_k),
             tokens = static_cast<double>(window.tokens);
  double mass = 0;
  for (const double x : layer.importance) mass += x;
  std::string out = fmt::format(
      "<div data-panel=\"symbols\" data-layer=\"{}\"><h3>Layer {}</h3><div "
      "class=\"scroll\"><table><thead><tr><th>Expert</th><th>Load</th>"
      "<th>Gate mass</th><th class=\"text\">Takes most</th><th class=\"text\">Most its "
      "own</th></tr></thead><tbody>",
      index, index);
  for (size_t e = 0; e < layer.load.size(); ++e) {
    const auto load = static_cast<double>(layer.load[e]);
    const std::string most = best_symbols(layer, symbols, [&](const std::vector<int64_t>& counts) {
      return load > 0 ? static_cast<double>(counts[e]) / load : 0;
    });
    // Symbols too rare to say anything about (below a thousandth of the text) are left out.
    const std::string own = best_symbols(layer, symbols, [&](const std::vector<int64_t>& counts) {
      double n = 0;
      for (const int64_t c : counts) n += static_cast<double>(c);
      n /= static_cast<double>(window.top_k);
      return n >= 1e-3 * tokens ? static_cast<double>(counts[e]) / n : 0;
    });
    append_path(out,
                "<tr><td><span class=\"key\" style=\"background:{}\"></span>{}</td><td>{:.1f} "
                "%</td><td>{:.1f} %</td><td class=\"text\">{}</td><td class=\"text\">{}</td></tr>",
                hex(expert_color(static_cast<int64_t>(e))), e, 100 * load / asked,
                mass > 0 ? 100 * layer.importance[e] / mass : 0, most, own);
  }
  return out + "</tbody></table></div></div>";
}

std::string missing_routing(const RunHistory& run) {
  return note_html(
      fmt::format("There are no routing statistics: {} has no {} with a row in it.", run.name, kRoutingFile));
}

}  // namespace

std::string note_html(std::string_view text) {
  return fmt::format("<p class=\"missing\">{}</p>", escape_markup(text));
}

std::string figure_html(const Figure& f, bool with_caption) {
  return fmt::format(
      "<figure id=\"{0}\" data-figure=\"{0}\" tabindex=\"0\">{1}{2}"
      "<details><summary>Numbers</summary></details></figure>",
      f.id, svg_inline(f),
      with_caption ? fmt::format("<figcaption>{}</figcaption>", escape_markup(f.caption)) : "");
}

std::string layer_choice_html(const std::string& id, const std::string& panels, int64_t count) {
  std::string out = fmt::format("<fieldset id=\"{}\"{} hidden=\"\"><legend>Layer</legend>", id,
                                panels.empty() ? "" : fmt::format(" data-panels=\"{}\"", panels));
  for (int64_t l = 0; l < count; ++l)
    append_path(out, "<label><input type=\"radio\" name=\"{}\" value=\"{}\"{}/>{}</label>", id, l,
                l + 1 == count ? " checked=\"\"" : "", l);
  return out + "</fieldset>";
}

std::string facts_html(const ReportInput& input, const RoutingWindow* recent) {
  const RunHistory& run = input.runs.front();
  std::string out;
  if (run.steps() > 0) out += fact("Steps", count_text(static_cast<double>(run.steps())), "");
  if (const Series& val = run.metric("val_loss"); !val.empty()) {
    const Point* best = lowest(val);
    out += fact("Validation loss", fmt::format("{:.4f}", val.back().value),
                fmt::format("lowest {:.4f} at step {}; {:.3f} bits a token", best->value, best->step,
                            val.back().value / std::numbers::ln2));
  }
  if (const Series& train = run.metric("train_loss"); !train.empty())
    out += fact("Training loss", fmt::format("{:.4f}", train.back().value),
                fmt::format("at step {}", train.back().step));
  if (const Series& speed = run.metric("tokens_per_second"); !speed.empty())
    out += fact("Tokens a second", number_text(median(speed)), "median of the steps");
  if (recent) {
    double busiest = 0;
    for (const LayerWindow& l : recent->layers) busiest = std::max(busiest, l.busiest_over_mean());
    const size_t dead = dead_experts(run.routing.windows.back()).size();
    out += fact("Busiest expert", fmt::format("{:.2f}×", busiest), "the mean load, worst layer");
    out +=
        fact("Dead experts", fmt::format("{}", dead),
             fmt::format("of {} in {} layers", recent->experts * static_cast<int64_t>(recent->layers.size()),
                         recent->layers.size()));
  }
  return out.empty() ? "" : "<dl class=\"facts\">" + out + "</dl>";
}

std::string runs_html(const ReportInput& input) {
  if (input.runs.size() < 2) return "";
  std::string out =
      "<h2>Runs</h2><div class=\"scroll\"><table "
      "id=\"runs\"><thead><tr><th>Run</th><th>Steps</th><th>Validation loss</th><th>Lowest</th>"
      "<th>At step</th><th>Training loss</th><th>Tokens a second</th></tr></thead><tbody>";
  for (size_t r = 0; r < input.runs.size(); ++r) {
    const RunHistory& run = input.runs[r];
    const Series &val = run.metric("val_loss"), &train = run.metric("train_loss");
    const Point* best = lowest(val);
    const auto loss = [](const Series& s) { return s.empty() ? "–" : fmt::format("{:.4f}", s.back().value); };
    append_path(out,
                "<tr><td><span class=\"key\" "
                "style=\"background:var(--c{})\"></span>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</"
                "td><td>{}</td><td>{}</td></tr>",
                r % 8, escape_markup(run.name), run.steps(), loss(val),
                best ? fmt::format("{:.4f}", best->value) : "–", best ? fmt::format("{}", best->step) : "–",
                loss(train), number_text(median(run.metric("tokens_per_second"))));
  }
  return out + "</tbody></table></div>";
}

std::string training_html(const ReportInput& input, std::vector<Figure>& figures) {
  std::string out = "<section id=\"training\"><h2>Training</h2>";
  for (const RunHistory& run : input.runs) {
    if (run.metrics.empty())
      out += note_html(fmt::format("{} has no {} with a row in it.", run.name, kMetricsFile));
    if (run.skipped_metrics > 0)
      out += note_html(fmt::format("{} lines of {} in {} could not be read and are left out.",
                                   run.skipped_metrics, kMetricsFile, run.name));
  }
  std::vector<Figure> curves = draw_runs(input.runs);
  if (!curves.empty()) out += grid("", Captions::each, curves);
  append(figures, std::move(curves));
  return out + "</section>";
}

std::string experts_html(const ReportInput& input, const RoutingWindow* recent,
                         std::vector<Figure>& figures) {
  const RunHistory& run = input.runs.front();
  std::string out = "<section id=\"experts\"><h2>Experts</h2>";
  if (!recent) return out + missing_routing(run) + "</section>";
  if (run.routing.skipped > 0)
    out += note_html(
        fmt::format("{} lines of {} could not be used and are left out.", run.routing.skipped, kRoutingFile));
  const std::vector<RoutingWindow> windows = coarsen(run.routing.windows, kMostColumns);
  out += fmt::format(
      "<p>A router sends each token to {} of {} experts. Orange experts get more than the even share, blue "
      "ones "
      "less; what is even is not coloured. The table is of steps {} to {}.</p>",
      recent->top_k, recent->experts, recent->first, recent->end - 1);
  out += health_table(*recent, run.routing.windows.back());
  std::vector<Figure> layers = draw_layers(windows), loads, together;
  for (size_t l = 0; l < recent->layers.size(); ++l) {
    loads.push_back(draw_load(windows, l));
    if (recent->top_k > 1 && !recent->layers[l].together.empty())
      together.push_back(draw_together(*recent, l));
  }
  const bool dropped = std::ranges::any_of(layers, [](const Figure& f) { return f.id == "dropped"; });
  out +=
      "<h3>Over time</h3>" + grid("", Captions::each, layers) +
      (dropped ? "" : "<p>No assignment was dropped.</p>") +
      "<h3>Load</h3><p>Assignments to each expert over time, against the even share. Struck out: no token at "
      "all. At the right, the share in the last column.</p>" +
      grid("", Captions::none, loads);
  out += "<h3>Experts that share tokens</h3>";
  if (recent->top_k > 1)
    out += fmt::format(
               "<p>Steps {} to {}: how often two experts get the same token, over what their loads alone "
               "would give.</p>",
               recent->first, recent->end - 1) +
           grid(" small", Captions::none, together);
  else
    out += note_html("With one expert a token no two experts share one.");
  append(figures, std::move(layers));
  append(figures, std::move(loads));
  append(figures, std::move(together));
  return out + "</section>";
}

std::string symbols_html(const ReportInput& input, const RoutingWindow* recent,
                         std::vector<Figure>& figures) {
  std::string out = "<section id=\"symbols\"><h2>Which symbols each expert takes</h2>";
  if (!recent) return out + missing_routing(input.runs.front()) + "</section>";
  out += fmt::format(
      "<p>Steps {} to {}. Full colour: every token of the symbol has the expert among its {}. ␣ is a blank, "
      "↵ a line break.{}</p>",
      recent->first, recent->end - 1, recent->top_k,
      input.symbols.empty() ? " The tokenizer is not there: symbols are shown by their numbers." : "");
  std::vector<Figure> tables;
  for (size_t l = 0; l < recent->layers.size(); ++l)
    tables.push_back(draw_symbols(*recent, l, input.symbols));
  out += grid(" wide", Captions::none, tables);
  append(figures, std::move(tables));
  out +=
      "<h3>Expert by expert</h3><p><em>Takes most</em>: the symbols that make up most of its load. <em>Most "
      "its "
      "own</em>: the symbols of which it takes the largest share, rare ones left out. Point at a symbol for "
      "its percentage.</p>";
  out += layer_choice_html("symbols-layers", "symbols", static_cast<int64_t>(recent->layers.size()));
  for (size_t l = 0; l < recent->layers.size(); ++l) out += expert_table(*recent, l, input.symbols);
  return out + "</section>";
}

std::string map_html(const ReportInput& input) {
  std::string out = "<section id=\"map\"><h2>Routing map</h2>";
  if (!input.map) return out + note_html(input.map_note) + "</section>";
  const RoutingMap& map = *input.map;
  out += fmt::format(
      "<p>{} Each token is coloured by its first expert in the layer; point at it, or use the arrow keys, "
      "for its {} experts and their "
      "gates. An expert's button dims what it does not take.</p>",
      escape_markup(input.map_note), map.top_k);
  out += layer_choice_html("map-layers", "", map.layers) + "<div id=\"map-experts\">";
  for (int64_t e = 0; e < map.experts; ++e)
    append_path(out, "<button class=\"e{0}\" value=\"{0}\" aria-pressed=\"false\" disabled=\"\">{0}</button>",
                e);
  out += "</div><pre id=\"map-text\" tabindex=\"0\" aria-label=\"Text coloured by expert\">";
  for (int64_t n = 0; n < map.tokens; ++n)
    append_path(out, "<i class=\"e{}\">{}</i>", map.expert[map.index(map.layers - 1, n)],
                escape_markup(map.pieces[static_cast<size_t>(n)]));
  return out + "</pre></section>";
}

nlohmann::json map_json(const RoutingMap& map) {
  nlohmann::json experts = nlohmann::json::array(), gates = nlohmann::json::array(),
                 names = nlohmann::json::array();
  for (int64_t l = 0; l < map.layers; ++l) {
    const auto begin = static_cast<ptrdiff_t>(map.index(l, 0)),
               end = static_cast<ptrdiff_t>(map.index(l + 1, 0));
    experts.push_back(std::vector<int32_t>(map.expert.begin() + begin, map.expert.begin() + end));
    nlohmann::json row = nlohmann::json::array();
    for (auto g = map.gate.begin() + begin; g != map.gate.begin() + end; ++g)
      row.push_back(std::lround(1000 * *g));
    gates.push_back(std::move(row));
  }
  for (const std::string& piece : map.pieces) names.push_back(visible_symbol(piece));
  return {{"top_k", map.top_k}, {"expert", experts}, {"gate", gates}, {"names", names}};
}

}  // namespace moe
