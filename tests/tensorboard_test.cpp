#include "model/tensorboard.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <set>

#include "tests/file_size_limit.h"
#include "tests/run_shop.h"

using namespace moe;
using Catch::Matchers::Contains;

namespace {

// Bit by bit, unlike core/crc32c.
uint32_t slow_masked_crc(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

template <class T>
T take(std::string_view& in) {
  REQUIRE(in.size() >= sizeof(T));
  T value;
  std::memcpy(&value, in.data(), sizeof(T));
  in.remove_prefix(sizeof(T));
  return value;
}

uint64_t take_varint(std::string_view& in) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<uint8_t>(in);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
}

// A protobuf message as its fields, of which each number holds the last value.
struct Message {
  std::map<uint64_t, uint64_t> numbers;
  std::multimap<uint64_t, std::string> texts;

  explicit Message(std::string_view in) {
    while (!in.empty()) {
      const uint64_t tag = take_varint(in), field = tag >> 3, wire = tag & 7;
      REQUIRE((wire == 0 || wire == 1 || wire == 2 || wire == 5));
      if (wire == 0) numbers[field] = take_varint(in);
      if (wire == 1) numbers[field] = take<uint64_t>(in);
      if (wire == 5) numbers[field] = take<uint32_t>(in);
      if (wire != 2) continue;
      const size_t size = take_varint(in);
      REQUIRE(size <= in.size());
      texts.emplace(field, in.substr(0, size));
      in.remove_prefix(size);
    }
  }
  std::string text(uint64_t field) const {
    REQUIRE(texts.count(field) == 1);
    return texts.find(field)->second;
  }
  double real(uint64_t field) const { return std::bit_cast<double>(numbers.at(field)); }
};

// The events of a file whose lengths and checksums must all hold.
std::vector<Message> events_of(const std::filesystem::path& path) {
  const std::string file = file_text(path);
  std::string_view in = file;
  std::vector<Message> events;
  while (!in.empty()) {
    const std::string_view length_bytes = in.substr(0, 8);
    const auto length = take<uint64_t>(in);
    REQUIRE(take<uint32_t>(in) == slow_masked_crc(length_bytes));
    REQUIRE(length + 4 <= in.size());
    const std::string_view data = in.substr(0, length);
    in.remove_prefix(length);
    REQUIRE(take<uint32_t>(in) == slow_masked_crc(data));
    events.emplace_back(data);
  }
  return events;
}

std::map<std::string, float> scalars_of(const Message& event) {
  std::map<std::string, float> scalars;
  for (const auto& [field, text] : Message(event.text(5)).texts) {
    REQUIRE(field == 1);
    const Message value(text);
    scalars[value.text(1)] = std::bit_cast<float>(static_cast<uint32_t>(value.numbers.at(2)));
  }
  return scalars;
}

bool is_start(const Message& event) {
  return event.texts.contains(7) && Message(event.text(7)).numbers.at(1) == 1;
}

// The steps of a scalar as TensorBoard shows them: file after file, a start forgets its step and later ones.
std::vector<int64_t> steps_shown(const std::filesystem::path& folder, const std::string& name) {
  std::set<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.insert(entry.path());
  std::vector<int64_t> steps;
  for (const auto& file : files)
    for (const Message& event : events_of(file)) {
      const int64_t step = event.numbers.contains(2) ? static_cast<int64_t>(event.numbers.at(2)) : 0;
      if (is_start(event)) std::erase_if(steps, [&](int64_t s) { return s >= step; });
      if (event.texts.contains(5) && scalars_of(event).contains(name)) steps.push_back(step);
    }
  return steps;
}

void no_warning(const std::string& line) {
  FAIL_CHECK(line);
}

}  // namespace

TEST_CASE("the mask of a record's checksum gives the known answers", "[tensorboard]") {
  CHECK(masked_crc32c(as_bytes("123456789")) == 0xc78ab0e5);
  // The first twelve bytes of every file that TensorFlow writes: a first event of 24 bytes.
  CHECK(masked_crc32c(as_bytes(std::string_view("\x18\0\0\0\0\0\0\0", 8))) == 0x224b7fa3);
}

TEST_CASE("an event file holds every value of every row, framed as TensorBoard wants it", "[tensorboard]") {
  const TempFolder folder;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const std::vector<MetricRow> rows = {
      {0, 1700000000.25, {{"train_loss", 4.25}, {"val_loss", 4.5}}},
      {1, 1700000001.5, {{"lr", 1e-3}}},
      {300, 1700000002, {{"layer 3/load/7", -0.5}, {"diverged", NAN}, {"huge", kInfinity}}},
      {int64_t{1} << 40, 1700000003, {}},
  };
  EventWriter writer(folder / "tb", 0, no_warning);
  for (const MetricRow& row : rows) writer.add(row);

  const auto events = events_of(writer.path());
  REQUIRE(events.size() == rows.size() + 2);
  CHECK(events[0].text(3) == "brain.Event:2");
  CHECK(events[0].real(1) > 1.7e9);
  CHECK(is_start(events[1]));
  CHECK(events[1].numbers.at(2) == 0);
  for (size_t i = 0; i < rows.size(); ++i) {
    const Message& event = events[i + 2];
    CHECK(event.real(1) == rows[i].time);
    CHECK(static_cast<int64_t>(event.numbers.at(2)) == rows[i].step);
    const auto scalars = scalars_of(event);
    REQUIRE(scalars.size() == rows[i].values.size());
    for (const auto& [name, value] : rows[i].values) {
      const float wanted = static_cast<float>(value), got = scalars.at(name);
      CHECK(std::bit_cast<uint32_t>(got) == std::bit_cast<uint32_t>(wanted));
    }
  }
}

TEST_CASE("a row is in its file as soon as it was added", "[tensorboard]") {
  const TempFolder folder;
  EventWriter writer(folder / "tb", 0, no_warning);
  for (int64_t step = 0; step < 10; ++step) {
    writer.add({step, 1, {{"loss", 2}}});
    CHECK(events_of(writer.path()).size() == static_cast<size_t>(step) + 3);
  }
}

TEST_CASE("each start of a run has a file behind the older ones, which tells where it goes on",
          "[tensorboard]") {
  const TempFolder folder;
  std::string before;
  for (const int64_t first_step : {0, 250, 250}) {
    EventWriter writer(folder / "tb", first_step, no_warning);
    const std::string name = writer.path().filename().string();
    CHECK(name.starts_with("events.out.tfevents."));
    CHECK(name > before);
    before = name;
    const auto events = events_of(writer.path());
    CHECK(is_start(events.at(1)));
    CHECK(static_cast<int64_t>(events.at(1).numbers.at(2)) == first_step);
  }
  const auto name_beside = [&](const char* other) {
    std::ofstream(folder / "tb" / other) << "";
    return EventWriter(folder / "tb", 0, no_warning).path().filename().string();
  };
  // A clock that was set back meanwhile does not matter.
  CHECK(
      name_beside("events.out.tfevents.9000000000.elsewhere").starts_with("events.out.tfevents.9000000001."));
  // Nothing can come behind this one.
  CHECK(
      name_beside("events.out.tfevents.9223372036854775807").starts_with("events.out.tfevents.9000000002."));
}

TEST_CASE("a run that goes back says so in the same file", "[tensorboard]") {
  const TempFolder folder;
  EventWriter writer(folder / "tb", 0, no_warning);
  writer.add({20, 1, {{"loss", 2}}});
  writer.restart(10);
  writer.add({10, 2, {{"loss", 3}}});
  const auto events = events_of(writer.path());
  REQUIRE(events.size() == 5);
  CHECK(is_start(events[3]));
  CHECK(events[3].numbers.at(2) == 10);
}

TEST_CASE("a resumed run shows every step and every evaluation once", "[tensorboard]") {
  const moe::test::RunShop shop;
  REQUIRE(
      run(shop, shop.training("out", 21, {"--tensorboard", "--save-interval", "7", "--keep", "0"})).code ==
      0);
  std::filesystem::remove_all(shop / "out/step-00000021");
  std::filesystem::remove(shop / "out/latest");
  std::filesystem::create_symlink("step-00000014", shop / "out/latest");
  REQUIRE(run(shop, shop.resuming("out", {"--tensorboard"})).code == 0);
  CHECK(steps_shown(shop / "out/tb", "loss") == moe::test::counting(21));
  CHECK(steps_shown(shop / "out/tb", "val_loss") == std::vector<int64_t>{0, 7, 14, 20});
  CHECK(steps_shown(shop / "out/tb", "eval_seconds") == std::vector<int64_t>{0, 7, 14, 20});
}

TEST_CASE("a run that was rewound shows every step and every evaluation once", "[tensorboard]") {
  const moe::test::RunShop shop;
  REQUIRE(run(shop, shop.nervous_training("out", 160, {"--tensorboard"})).code == 0);
  CHECK_THAT(file_text(shop / "out/divergence.log"), Contains("back to the checkpoint of step"));
  for (const char* name : {"loss", "val_loss"})
    CHECK(steps_shown(shop / "out/tb", name) == moe::test::steps_with(shop / "out", name));
}

TEST_CASE("a full disk costs one line and leaves whole records only", "[tensorboard]") {
  const TempFolder folder;
  std::vector<std::string> lines;
  EventWriter writer(folder / "tb", 0, [&](const std::string& line) { lines.push_back(line); });
  const MetricRow row{1, 1, {{"loss", 2}}};
  {
    const FileSizeLimit limit(1000);
    for (int i = 0; i < 100; ++i) writer.add(row);
  }
  REQUIRE(lines.size() == 1);
  CHECK_THAT(lines[0], Contains(writer.path().string()) && Contains("File too large"));
  const size_t before = events_of(writer.path()).size();
  CHECK(before > 2);
  writer.add(row);
  CHECK(events_of(writer.path()).size() == before + 1);
  CHECK(lines.size() == 1);
}

TEST_CASE("a folder that cannot be made is found out at the start", "[tensorboard]") {
  const TempFolder folder;
  std::ofstream(folder / "tb") << "a file";
  CHECK_THAT(message_of(ErrorKind::resource, [&] { EventWriter(folder / "tb", 0, no_warning); }),
             Contains((folder / "tb").string()));
}
