// What waits for the MLflow server, on disk.

#include "model/spool.h"

#include <sys/stat.h>

#include <cmath>
#include <limits>
#include <random>

#include "core/crc32c.h"
#include "model/sent_log.h"
#include "tests/file_size_limit.h"
#include "tests/process.h"

using namespace moe;
using Catch::Matchers::Contains;

namespace {

RunStart start_of_run() {
  return {"0123abcd", "http://host:5000", "makemoe", "out", 1700000000123, {{"top_k", "2"}}, {{"who", "me"}}};
}

MetricRow spooled_row(int64_t step) {
  return {
      step, 1700000000.5 + static_cast<double>(step), {{"loss", 1.0 / (1.0 + static_cast<double>(step))}}};
}

std::vector<SpoolRecord> records_in(const std::filesystem::path& spool) {
  SpoolReader reader(spool);
  std::vector<SpoolRecord> records;
  while (auto record = reader.next()) records.push_back(std::move(*record));
  return records;
}

std::vector<int64_t> steps_in(const std::filesystem::path& spool) {
  std::vector<int64_t> steps;
  for (const SpoolRecord& record : records_in(spool))
    if (const auto* row = std::get_if<MetricRow>(&record)) steps.push_back(row->step);
  return steps;
}

std::vector<int64_t> steps_up_to(int64_t count) {
  std::vector<int64_t> steps;
  for (int64_t step = 0; step < count; ++step) steps.push_back(step);
  return steps;
}

}  // namespace

TEST_CASE("every kind of record comes back from its line as it was", "[spool]") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const MetricRow row{
      int64_t{1} << 60,
      1700000000.125,
      {{"a/b c", 0.1}, {"nan", NAN}, {"inf", kInfinity}, {"minus", -kInfinity}, {"tiny", 5e-324}}};
  for (const SpoolRecord& record :
       {SpoolRecord(start_of_run()), SpoolRecord(RunResume{7, {{"max_iters", "9"}}}), SpoolRecord(row),
        SpoolRecord(RunFile{"best/mod\u00e8le.safetensors"}), SpoolRecord(RunEnd{RunStatus::killed, 12})}) {
    const std::string line = to_line(record);
    REQUIRE(line.find('\n') == line.size() - 1);
    const auto back = parse_line(std::string_view(line).substr(0, line.size() - 1));
    REQUIRE(back);
    CHECK(back->index() == record.index());
    CHECK(to_line(*back) == line);
  }
  const auto back = parse_line(std::string_view(to_line(row)).substr(0, to_line(row).size() - 1));
  const auto& values = std::get<MetricRow>(*back).values;  // in the order of the names
  REQUIRE(values.size() == 5);
  CHECK(values[0].second == 0.1);
  CHECK(values[1].second == kInfinity);
  CHECK(values[2].second == -kInfinity);
  CHECK(std::isnan(values[3].second));
  CHECK(values[4].second == 5e-324);
}

TEST_CASE("text that is no UTF-8 does not stop a record", "[spool]") {
  const std::string line = to_line(RunFile{"\xff\xfe"});
  CHECK(parse_line(std::string_view(line).substr(0, line.size() - 1)));
}

TEST_CASE("a line with any bit wrong is passed over, and no other with it", "[spool]") {
  const TempFolder folder;
  SpoolWriter writer(folder.path(), start_of_run());
  for (int64_t step = 0; step < 3; ++step) writer.append(spooled_row(step));
  const std::string text = file_text(writer.path());
  for (size_t at = 0; at < text.size(); ++at) {
    std::string damaged = text;
    damaged[at] = static_cast<char>(damaged[at] ^ (at % 2 == 0 ? 0x01 : 0x20));
    const auto line = std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(at), '\n');
    std::ofstream(folder / "damaged", std::ios::binary) << damaged;
    const bool glued = text[at] == '\n';  // with the line behind it, or not complete any more
    const size_t wanted = glued && line < 3 ? 2 : 3;
    INFO(at);
    CHECK(records_in(folder / "damaged").size() == wanted);
  }
}

TEST_CASE("a line with the right checksum that is no record is passed over", "[spool]") {
  for (const char* text :
       {"", "{}", "[]", "7", "{\"kind\":\"end\",\"status\":9,\"time\":1}", "{\"kind\":\"later\"}",
        "{\"kind\":\"metrics\",\"step\":\"x\",\"time\":1,\"values\":{}}",
        "{\"kind\":\"metrics\",\"step\":1e300,\"time\":1,\"values\":{}}",
        "{\"kind\":\"metrics\",\"step\":9223372036854775808,\"time\":1,\"values\":{}}",
        "{\"kind\":\"resume\",\"step\":-1e300,\"changed\":[]}",
        "{\"kind\":\"end\",\"status\":1e300,\"time\":1}", "{\"kind\":\"end\",\"status\":1,\"time\":1e300}",
        "{\"kind\":\"metrics\",\"step\":1,\"time\":1,\"values\":{\"a\":\"b\"}}",
        "{\"kind\":\"start\",\"id\":\"' OR 1\",\"server\":\"\",\"experiment\":\"\",\"name\":\"\","
        "\"time\":1,\"params\":[],\"tags\":[]}"})
    CHECK_FALSE(parse_line(fmt::format("{:08x} {}", crc32c(as_bytes(text)), text)));
}

TEST_CASE("a run that goes on cuts off the line in which it was killed", "[spool]") {
  const TempFolder folder;
  std::filesystem::path path;
  {
    SpoolWriter writer(folder.path(), start_of_run());
    for (int64_t step = 0; step < 5; ++step) writer.append(spooled_row(step));
    path = writer.path();
  }
  const std::string whole = file_text(path), next = to_line(spooled_row(5));
  for (size_t cut = 0; cut < next.size(); ++cut) {
    std::ofstream(path, std::ios::binary) << whole + next.substr(0, cut);
    CHECK(steps_in(path) == steps_up_to(5));
    SpoolWriter(path).append(spooled_row(5));
    CHECK(steps_in(path) == steps_up_to(6));
  }
}

TEST_CASE("a spool can be read while it grows", "[spool]") {
  const TempFolder folder;
  SpoolWriter writer(folder.path(), start_of_run());
  SpoolReader reader(writer.path());
  CHECK(reader.next());
  CHECK_FALSE(reader.next());
  for (int64_t step = 0; step < 2000; ++step) {
    writer.append(spooled_row(step));
    const auto record = reader.next();
    REQUIRE(record);
    REQUIRE(std::get<MetricRow>(*record).step == step);
    REQUIRE_FALSE(reader.next());
  }
  // The begin of a line that a full disk cut off again leaves no trace.
  const std::string line = to_line(spooled_row(2000));
  std::ofstream(writer.path(), std::ios::app | std::ios::binary) << line.substr(0, 20);
  CHECK_FALSE(reader.next());
  std::filesystem::resize_file(writer.path(), static_cast<uintmax_t>(reader.offset()));
  writer.append(spooled_row(3000));
  CHECK(std::get<MetricRow>(reader.next().value()).step == 3000);
}

TEST_CASE("only the begin of a line can be sought", "[spool]") {
  const TempFolder folder;
  SpoolWriter writer(folder.path(), start_of_run());
  SpoolReader reader(writer.path());
  reader.next();
  const int64_t second = reader.offset();
  writer.append(spooled_row(4));
  CHECK_FALSE(reader.seek(second - 1));
  CHECK_FALSE(reader.seek(second + 5));
  CHECK_FALSE(reader.seek(1 << 20));
  CHECK_FALSE(reader.seek(-1));
  CHECK(reader.seek(0));
  CHECK(std::holds_alternative<RunStart>(reader.next().value()));
  CHECK(reader.seek(second));
  CHECK(std::get<MetricRow>(reader.next().value()).step == 4);
}

TEST_CASE("what is no file or has no lines is refused as a spool", "[spool]") {
  const TempFolder folder;
  CHECK_THAT(message_of(ErrorKind::data, [&] { SpoolReader(folder / "missing"); }), Contains("missing"));
  CHECK_THAT(message_of(ErrorKind::data, [&] { SpoolReader(folder.path()); }), Contains("no file"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(message_of(ErrorKind::data, [&] { SpoolReader(folder / "pipe"); }), Contains("no file"));
  { const SpoolLock at_once(folder / "pipe"); }
  std::ofstream(folder / "long") << std::string(20 << 20, 'x');
  CHECK_THAT(message_of(ErrorKind::data, [&] { SpoolReader(folder / "long").next(); }), Contains("longer"));
}

TEST_CASE("what a full disk refuses waits in memory, within bounds, and is written once it can be",
          "[spool]") {
  const TempFolder folder;
  SpoolWriter writer(folder.path(), start_of_run());
  int64_t step = 0;
  {
    const FileSizeLimit limit(2000);
    while (writer.append(spooled_row(step))) ++step;
    CHECK_THAT(writer.problem(), Contains("File too large") && Contains(writer.path().string()));
    for (int i = 0; i < 10; ++i) CHECK_FALSE(writer.append(spooled_row(++step)));
    CHECK(writer.waiting() == 11);
  }
  CHECK(writer.append(spooled_row(++step)));
  CHECK(writer.waiting() == 0);
  CHECK(writer.lost() == 0);
  CHECK(steps_in(writer.path()) == steps_up_to(step + 1));

  const FileSizeLimit limit(2000);
  for (size_t i = 0; i < SpoolWriter::kMostWaiting + 5; ++i) writer.append(spooled_row(0));
  CHECK(writer.waiting() == SpoolWriter::kMostWaiting);
  CHECK(writer.lost() == 5);
}

TEST_CASE("a run that is killed loses no row that it had logged", "[spool]") {
  if (!kWithHttp) {
    WARN("skipped: this build has no HTTP client");
    return;
  }
  std::mt19937 random(7);
  for (int i = 0; i < 20; ++i) {
    const TempFolder folder;
    Process process(folder.path(),
                    {MOE_WRITE_RUN, "run", "--steps", "100000000", "--mlflow=http://127.0.0.1:9"});
    REQUIRE(process.says("0\n"));
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 30'000));
    process.kill(SIGKILL);
    process.wait();
    const std::string said = process.out();
    const auto logged = std::count(said.begin(), said.end(), '\n');
    const auto spools = find_spools(folder / "run");
    REQUIRE(spools.size() == 1);
    const auto steps = steps_in(spools[0]);
    CHECK(static_cast<int64_t>(steps.size()) >= logged);
    CHECK(steps == steps_up_to(static_cast<int64_t>(steps.size())));
    CHECK(std::holds_alternative<RunStart>(records_in(spools[0]).at(0)));
  }
}

TEST_CASE("what was sent is known for each server, and a damaged note of it counts as none", "[spool]") {
  const TempFolder folder;
  const auto spool = folder / "1-ab.spool", sent = folder / "1-ab.sent";
  SentLog log(spool);
  CHECK_FALSE(log.find("http://a").run);
  log.set("http://a", {MlflowRun{"r1", "0", "mlflow-artifacts:/0/r1"}, 10});
  log.set("http://b", {MlflowRun{"r2", "1", "s3://x"}, 20});
  CHECK(SentLog(spool).find("http://a").offset == 10);
  CHECK(SentLog(spool).find("http://b").run->id == "r2");
  const std::string good = file_text(sent);
  for (const std::string& bad :
       {std::string(), std::string("{"), std::string("[]"), std::string("{\"http://a\": 5}"),
        good.substr(0, good.size() / 2), std::string(good).replace(good.find("r1"), 2, "\x1b["),
        std::string(good).replace(good.find(":10,"), 4, ":1e300,")}) {
    std::ofstream(sent, std::ios::binary) << bad;
    CHECK_FALSE(SentLog(spool).find("http://a").run);
  }
}
