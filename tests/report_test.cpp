// The report page on runs that were made up: well-formed, with the right numbers, whatever is missing or
// hostile.

#include "model/report.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "model/report_heatmaps.h"
#include "model/report_plots.h"
#include "tests/catch.h"
#include "tests/markup.h"
#include "tests/process.h"

using namespace moe;
using nlohmann::json;

namespace {

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

int64_t load_of(int64_t window, int64_t layer, int64_t expert) {
  return expert == 1 && layer == 0 ? 0 : 100 + 10 * window + layer + 3 * expert;
}

// Ten steps of `experts` experts, two a token.
RoutingWindow window_of(int64_t number, int64_t layers, int64_t experts, bool dropped) {
  RoutingWindow w;
  w.first = 10 * number;
  w.end = w.first + 10;
  w.experts = experts;
  w.top_k = std::min<int64_t>(2, experts);
  w.tokens = 1000;
  for (int64_t l = 0; l < layers; ++l) {
    LayerWindow layer;
    for (int64_t e = 0; e < experts; ++e) {
      layer.load.push_back(load_of(number, l, e));
      layer.kept.push_back(layer.load.back() - (dropped && layer.load.back() > 5 ? 5 : 0));
      layer.importance.push_back(50.5);
      for (int64_t f = e + 1; f < experts; ++f) layer.together.push_back(e + f + number);
    }
    layer.entropy_sum = 128 * 0.5;
    layer.entropy_tokens = 128;
    for (int32_t id = 0; id < 5; ++id) {
      std::vector<int64_t>& row = layer.symbols[id];
      for (int64_t e = 0; e < experts; ++e) row.push_back(e == id % experts ? 8 : 2);
    }
    w.layers.push_back(layer);
  }
  return w;
}

RunHistory run_of(const std::string& name, int64_t layers, int64_t experts, bool dropped = false) {
  RunHistory run;
  run.name = name;
  for (int64_t step = 0; step < 100; ++step) {
    run.metrics["loss"].push_back({step, 4 - 0.02 * static_cast<double>(step)});
    run.metrics["learning_rate"].push_back({step, 1e-3});
    run.metrics["grad_norm"].push_back({step, 1.25});
    run.metrics["tokens_per_second"].push_back({step, 5000});
  }
  for (const int64_t step : {0, 50, 99}) {
    run.metrics["train_loss"].push_back({step, 4 - 0.0201 * static_cast<double>(step)});
    run.metrics["val_loss"].push_back({step, 4 - 0.0199 * static_cast<double>(step)});
  }
  for (int64_t i = 0; layers > 0 && i < 10; ++i)
    run.routing.windows.push_back(window_of(i, layers, experts, dropped));
  if (layers > 0) {
    run.routing.recent = run.routing.windows[9];
    run.routing.recent->add(run.routing.windows[8]);
  }
  return run;
}

RoutingMap map_of(const std::vector<std::string>& pieces, int64_t layers, int64_t experts) {
  RoutingMap map;
  map.layers = layers;
  map.experts = experts;
  map.top_k = 2;
  map.pieces = pieces;
  map.tokens = static_cast<int64_t>(pieces.size());
  for (int64_t i = 0; i < layers * map.tokens; ++i) {
    map.expert.insert(map.expert.end(),
                      {static_cast<int32_t>(i % experts), static_cast<int32_t>((i + 1) % experts)});
    map.gate.insert(map.gate.end(), {0.75f, 0.25f});
  }
  return map;
}

ReportInput full_input() {
  ReportInput input;
  input.runs = {run_of("first", 3, 4)};
  input.about = "a small model";
  input.symbols = {"\n", " ", "a", "b", "c"};
  input.map = map_of({"a", " ", "b", "\n"}, 3, 4);
  input.map_note = "A text.";
  return input;
}

json data_of(const std::string& html) {
  const std::string start = "<script type=\"application/json\" id=\"data\">";
  const size_t begin = html.find(start) + start.size();
  return json::parse(html.substr(begin, html.find("</script>", begin) - begin));
}

void check_well_formed(const Report& report) {
  CHECK(markup_fault(report.html, true).empty());
  for (const Figure& f : report.figures) {
    INFO(f.id);
    CHECK(markup_fault(svg_file(f), false).empty());
  }
}

const Figure& figure(const Report& report, const std::string& id) {
  for (const Figure& f : report.figures)
    if (f.id == id) return f;
  throw error(ErrorKind::runtime, "no figure {}", id);
}

bool has_figure(const Report& report, const std::string& id) {
  for (const Figure& f : report.figures)
    if (f.id == id) return true;
  return false;
}

size_t count(std::string_view text, std::string_view part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("the checker of markup sees what is broken", "[report]") {
  CHECK(markup_fault("<a b=\"c\"><d/>x &lt; y</a>", false).empty());
  for (const char* bad : {"<a>", "<a></b>", "<a b=c></a>", "<a b=\"<\"></a>", "<a>1 & 2</a>", "<a>></a>",
                          "<a b=\"1\" b=\"2\"/>", "</a>", "<a b=\"1></a>"})
    CHECK_FALSE(markup_fault(bad, false).empty());
}

TEST_CASE("a report is well-formed, asks for nothing from outside and has every figure", "[report]") {
  const Report report = make_report(full_input());
  check_well_formed(report);
  for (const char* id : {"loss", "step-loss", "learning-rate", "gradient-norm", "throughput", "entropy",
                         "busiest", "load-layer-2", "together-layer-2", "symbols-layer-2"}) {
    CHECK(has_figure(report, id));
    CHECK(has(report.html, fmt::format("<figure id=\"{}\"", id)));
  }
  CHECK(!has_figure(report, "dropped"));
  CHECK(has(report.html, "No assignment was dropped."));
  CHECK(!has(report.html, "href=\"http"));
  CHECK(!has(report.html, "src="));
  CHECK(!has(report.html, "@import"));
  CHECK(!has(report.html, "class=\"missing\""));
}

TEST_CASE("the numbers behind the figures are those of the run", "[report]") {
  const ReportInput input = full_input();
  const Report report = make_report(input);
  const json data = data_of(report.html);
  const json& loss = data["figures"]["loss"];
  REQUIRE(loss["curves"].size() == 2);
  CHECK(loss["curves"][0]["label"] == "val");
  CHECK(loss["curves"][0]["points"] == json({{0, 4.0}, {50, 4 - 0.0199 * 50}, {99, 4 - 0.0199 * 99}}));
  CHECK(loss["curves"][1]["points"][2] == json({99, 4 - 0.0201 * 99}));
  CHECK(data["figures"]["step-loss"]["curves"][0]["points"].size() == 100);
  for (size_t l = 0; l < 3; ++l) {
    const json& load = data["figures"][fmt::format("load-layer-{}", l)];
    CHECK(load["columns"].size() == 10);
    CHECK(load["columns"][3] == json({30, 40}));
    for (size_t e = 0; e < 4; ++e)
      for (size_t w = 0; w < 10; ++w)
        CHECK(load["values"][e][w] ==
              load_of(static_cast<int64_t>(w), static_cast<int64_t>(l), static_cast<int64_t>(e)));
    // The last quarter of a hundred steps: windows 8 and 9.
    CHECK(data["figures"][fmt::format("together-layer-{}", l)]["values"][1][2] == (3 + 8) + (3 + 9));
    CHECK(data["figures"][fmt::format("together-layer-{}", l)]["values"][2][1] == (3 + 8) + (3 + 9));
    CHECK(data["figures"][fmt::format("symbols-layer-{}", l)]["values"][2][2] == 16);
    CHECK(data["figures"][fmt::format("symbols-layer-{}", l)]["values"][2][0] == 4);
    CHECK(data["figures"][fmt::format("symbols-layer-{}", l)]["names"] == json({"↵", "␣", "a", "b", "c"}));
  }
  CHECK(data["figures"]["entropy"]["curves"][2]["points"][9] == json({99, 0.5}));
  CHECK(data["map"]["gate"][1][2] == 750);
  CHECK(data["map"]["expert"][2] == json({0, 1, 1, 2, 2, 3, 3, 0}));
  CHECK(has(report.html, "<dt>Validation loss</dt><dd>2.0299"));
  CHECK(has(report.html, "<dt>Dead experts</dt><dd>1<small>of 12 in 3 layers"));
  CHECK(has(report.html, "<tr><td>0</td><td>0.500 nats</td>"));
}

TEST_CASE("a line goes through its points on the axes that its figure states", "[report]") {
  const Report report = make_report(full_input());
  const Figure& f = figure(report, "loss");
  const json& axes = f.data["axes"];
  const double x =
      axes["box"][0].get<double>() + axes["box"][2].get<double>() * 50 / axes["x"][1].get<double>();
  const double y0 = axes["y"][0], y1 = axes["y"][1];
  const double y =
      axes["box"][1].get<double>() + axes["box"][3].get<double>() * (y1 - (4 - 0.0199 * 50)) / (y1 - y0);
  CHECK(axes["x"][1] == 100);
  CHECK(has(f.body, fmt::format("L{:.1f} {:.1f}", x, y)));
}

TEST_CASE("equal neighbours become one rectangle, and an idle expert is struck out", "[report]") {
  CellPainter painter;
  painter.add(0, 0, 2, 3, 1);
  painter.add(2, 0, 2, 3, 1);
  painter.add(4, 0, 2, 3, -0.5);
  painter.add(6, 0, 2, 3, 0);
  CHECK(painter.svg() ==
        "<path class=\"under\" fill-opacity=\"0.50\" d=\"M4.0 0.0h2.0v3.0h-2.0z\"/>"
        "<path class=\"over\" fill-opacity=\"1.00\" d=\"M0.0 0.0h4.0v3.0h-4.0z\"/>");
  const Report report = make_report(full_input());
  // The legend has one stroke; layer 0 has an idle expert, in ten windows.
  const auto strikes = [&](const char* id) {
    const std::string& body = figure(report, id).body;
    size_t n = 0;
    for (size_t at = body.find("class=\"strike\" d=\""); at != std::string::npos;
         at = body.find("class=\"strike\" d=\"", at + 1))
      n += count(std::string_view(body).substr(at + 18, body.find("\"/>", at) - at - 18), "M");
    return n;
  };
  CHECK(strikes("load-layer-0") == 11);
  CHECK(strikes("load-layer-1") == 1);
}

TEST_CASE("several runs are compared, and named", "[report]") {
  ReportInput input = full_input();
  input.runs.push_back(run_of("second & last", 0, 0));
  input.runs[1].metrics["val_loss"].back().value = 1.5;
  const Report report = make_report(input);
  check_well_formed(report);
  const json data = data_of(report.html);
  CHECK(data["figures"]["loss"]["curves"].size() == 4);
  CHECK(data["figures"]["loss"]["curves"][2]["label"] == "second & last val");
  CHECK(has(report.html, "second &amp; last</td><td>100</td><td>1.5000</td>"));
}

TEST_CASE("hostile text does nothing but stand there", "[report]") {
  ReportInput input = full_input();
  const std::string evil = "</script><script>alert(1)</script><img src=x onerror='alert(2)'>&amp;\"";
  input.runs[0].name = evil;
  input.about = evil;
  input.map_note = evil;
  input.symbols = {evil, "\x01", "\xff", "</pre>", "]]>"};
  input.map = map_of({evil, "\xff\xfe", "\x1b[31m", std::string(1, '\x7f'), "\xE2\x82"}, 3, 4);
  const Report report = make_report(input);
  check_well_formed(report);
  CHECK(count(report.html, "<script") == 2);
  CHECK(!has(report.html, "<img"));
  CHECK(!has(report.html, "\xff"));
  CHECK(data_of(report.html)["map"]["names"][1] == "\uFFFD\uFFFD");
  for (size_t at = 0; at < report.html.size(); ++at)
    REQUIRE((static_cast<unsigned char>(report.html[at]) >= 0x20 || report.html[at] == '\n'));
}

TEST_CASE("what is missing is said to be missing", "[report]") {
  ReportInput input;
  input.runs = {RunHistory{}};
  input.runs[0].name = "empty";
  input.map_note = "There is no model.";
  const Report report = make_report(input);
  check_well_formed(report);
  CHECK(report.figures.empty());
  CHECK(has(report.html, "empty has no metrics.jsonl"));
  CHECK(has(report.html, "no routing statistics"));
  CHECK(has(report.html, "There is no model."));
  CHECK(!data_of(report.html).contains("map"));
  input.runs = {run_of("no model", 2, 4)};
  const Report bare = make_report(input);
  check_well_formed(bare);
  CHECK(has(bare.html, "symbols are shown by their numbers"));
  CHECK(data_of(bare.html)["figures"]["symbols-layer-0"]["names"][3] == "#3");
  input.runs[0].skipped_metrics = 2;
  input.runs[0].routing.skipped = 3;
  CHECK(has(make_report(input).html, "2 lines of metrics.jsonl"));
  CHECK(has(make_report(input).html, "3 lines of routing.jsonl"));
}

TEST_CASE("any number of experts and layers can be drawn", "[report]") {
  for (const auto& [layers, experts] :
       {std::pair<int64_t, int64_t>{1, 1}, {1, 2}, {32, 3}, {2, 64}, {1, 160}}) {
    ReportInput input;
    input.runs = {run_of("run", layers, experts, true)};
    const Report report = make_report(input);
    INFO(layers << " layers of " << experts);
    check_well_formed(report);
    CHECK(has_figure(report, "dropped"));
    CHECK(has_figure(report, fmt::format("load-layer-{}", layers - 1)));
    CHECK(has_figure(report, "together-layer-0") == (experts > 1));
    CHECK(!has(report.html, "nan"));
    CHECK(!has(report.html, "inf\""));
  }
}

TEST_CASE("many windows are drawn as few, and nothing is lost", "[report]") {
  ReportInput input;
  input.runs = {run_of("run", 1, 4)};
  for (int64_t i = 10; i < 1000; ++i) input.runs[0].routing.windows.push_back(window_of(i, 1, 4, false));
  const json load = data_of(make_report(input).html)["figures"]["load-layer-0"];
  CHECK(load["columns"].size() <= 120);
  int64_t sum = 0, all = 0;
  for (const json& n : load["values"][2]) sum += n.get<int64_t>();
  for (int64_t i = 0; i < 1000; ++i) all += load_of(i, 0, 2);
  CHECK(sum == all);
}

TEST_CASE("means and thinning keep ends and averages", "[report]") {
  Series series;
  for (int64_t i = 0; i < 1001; ++i) series.push_back({2 * i, static_cast<double>(i % 2)});
  const Series few = thin(series, 11);
  REQUIRE(few.size() == 11);
  CHECK(few.front().step == 0);
  CHECK(few.back().step == 2000);
  CHECK(thin(few, 11).size() == 11);
  for (const Point& p : smooth(series, 50, 20)) CHECK(p.value == Approx(0.5).margin(0.011));
  CHECK(smooth(series, 0, 2000)[7].value == 1);
  CHECK(smooth({{3, 5.0}}, 9, 10)[0].value == 5);
  series[10].value = 1e20;  // is forgotten behind its window
  CHECK(smooth(series, 5, 2000)[500].value == Approx(0.5).margin(0.1));
}

TEST_CASE("a line far above all others is cut, and the plot says how high it goes", "[report]") {
  LinePlot plot{"p", "P", ""};
  Curve curve{"c"};
  for (int64_t i = 0; i < 60; ++i)
    curve.points.push_back({i, i == 0 ? 500.0 : 2.0 - 0.01 * static_cast<double>(i)});
  plot.curves = {curve};
  const Figure f = draw_lines(plot);
  CHECK(f.data["axes"]["y"][1].get<double>() < 3);
  CHECK(has(f.body, "reaches 500"));
  plot.curves[0].points[0].value = 2.2;
  CHECK(!has(draw_lines(plot).body, "reaches"));
  plot.curves[0].points = {{0, 0.0}};
  CHECK(markup_fault(svg_file(draw_lines(plot)), false).empty());
}

TEST_CASE("ticks are round and inside", "[report]") {
  CHECK(ticks(0, 10, 5) == std::vector<double>{0, 2, 4, 6, 8, 10});
  CHECK(ticks(1.9, 3.2, 4).front() == Approx(2));
  CHECK(ticks(5, 5, 4).size() == 1);
}

TEST_CASE("an axis has labels that differ, and ends, however small the range", "[report]") {
  CHECK(ticks(2.5, 2.5000000000000004, 4).size() <= 9);
  CHECK(ticks(1e17, 1e17 + 16, 4).size() <= 9);
  CHECK(ticks(-1e308, 1e308, 4).size() <= 9);
  using Pair = std::pair<double, double>;
  for (const auto& [low, high] : {Pair{1.2, 1.2027},
                                  {1e-4, 1.0001e-4},
                                  {2.5, 2.5000000000000004},
                                  {1e17, 1e17 + 16},
                                  {1e9, 1e9 + 1e4},
                                  {0, 1e-3},
                                  {2e12, 2.00001e12}}) {
    LinePlot plot{"p", "P", ""};
    plot.curves = {Curve{"c", {{0, low}, {1, high}, {2, low}}}};
    const std::string body = draw_lines(plot).body;
    std::set<std::string> labels;
    size_t n = 0;
    const std::string mark = "<path class=\"grid\"";
    for (size_t at = body.find(mark); at != std::string::npos; at = body.find(mark, at + 1), ++n) {
      const size_t text = body.find('>', body.find("<text", at)) + 1;
      labels.insert(body.substr(text, body.find('<', text) - text));
    }
    INFO(low << " to " << high);
    CHECK(n >= 3);
    CHECK(labels.size() == n);
  }
}

TEST_CASE("the circle is at the lowest of all evaluations, drawn or not", "[report]") {
  ReportInput input = full_input();
  Series& losses = input.runs[0].metrics["val_loss"];
  losses.clear();
  for (int64_t i = 0; i < 1001; ++i) losses.push_back({i, i == 502 ? 1.25 : 3.0});
  REQUIRE(std::ranges::none_of(thin(losses, 400), [](const Point& p) { return p.step == 502; }));
  const Report report = make_report(input);
  CHECK(has(figure(report, "loss").body, "lowest: 1.25 at step 502"));
  CHECK(figure(report, "loss").data["axes"]["y"][0].get<double>() < 1.25);
}

TEST_CASE("a report replaces the older one with its figures", "[report]") {
  const TempFolder folder;
  write_report(folder / "run", make_report(full_input()));
  CHECK(std::filesystem::exists(folder / "run/report/load-layer-2.svg"));
  std::ofstream(folder / "run/report/load-layer-9.svg") << "old";
  ReportInput input = full_input();
  input.about = "another model";
  const Report second = make_report(input);
  write_report(folder / "run", second, false);
  CHECK(file_text(folder / "run/report.html") == second.html);
  CHECK(std::filesystem::exists(folder / "run/report/load-layer-9.svg"));
  write_report(folder / "run", second);
  CHECK(!std::filesystem::exists(folder / "run/report/load-layer-9.svg"));
  CHECK(file_text(folder / "run/report/loss.svg") == svg_file(figure(second, "loss")));
  CHECK(folder.temporary_files() == 0);
}
