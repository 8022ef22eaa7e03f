#include "model/tensorboard.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <chrono>
#include <limits>
#include <string_view>
#include <utility>

#include "core/crc32c.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEventsPrefix = "events.out.tfevents.";

// Little-endian, as all of the format.
template <class T>
void put_fixed(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(value >> 8 * i & 0xFF);
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

enum class Wire { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

void put_tag(std::string& out, int field, Wire wire) {
  put_varint(out, static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(wire));
}

void put_integer(std::string& out, int field, int64_t value) {
  put_tag(out, field, Wire::varint);
  put_varint(out, static_cast<uint64_t>(value));
}

void put_double(std::string& out, int field, double value) {
  put_tag(out, field, Wire::fixed64);
  put_fixed(out, std::bit_cast<uint64_t>(value));
}

void put_float(std::string& out, int field, float value) {
  put_tag(out, field, Wire::fixed32);
  put_fixed(out, std::bit_cast<uint32_t>(value));
}

void put_bytes(std::string& out, int field, std::string_view value) {
  put_tag(out, field, Wire::bytes);
  put_varint(out, value.size());
  out += value;
}

// Event: wall_time = 1, step = 2, file_version = 3, summary = 5, session_log = 7.
std::string event(double time, int64_t step, int field, std::string_view content) {
  std::string data;
  put_double(data, 1, time);
  put_integer(data, 2, step);
  put_bytes(data, field, content);
  return data;
}

std::string file_version(double time) {
  std::string data;
  put_double(data, 1, time);
  put_bytes(data, 3, "brain.Event:2");
  return data;
}

// SessionLog: status = 1, of which 1 is START.
std::string session_start(double time, int64_t step) {
  std::string log;
  put_integer(log, 1, 1);
  return event(time, step, 7, log);
}

// Summary: repeated value = 1 { tag = 1, simple_value = 2 }.
std::string scalars(const MetricRow& row) {
  std::string summary;
  for (const auto& [name, number] : row.values) {
    std::string value;
    put_bytes(value, 1, name);
    put_float(value, 2, static_cast<float>(number));
    put_bytes(summary, 1, value);
  }
  return event(row.time, row.step, 5, summary);
}

std::string record(std::string_view data) {
  std::string out;
  put_fixed(out, static_cast<uint64_t>(data.size()));
  put_fixed(out, masked_crc32c(as_bytes(out)));
  out += data;
  put_fixed(out, masked_crc32c(as_bytes(data)));
  return out;
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::string name(256, '\0');
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  name.resize(name.find('\0'));
  std::ranges::replace(name, '/', '_');
  return name.empty() ? "localhost" : name;
}

// The seconds in an event file's name; 0 for other files, and for those that none can come behind.
int64_t seconds_in(const std::string& name) {
  int64_t seconds = 0;
  if (name.starts_with(kEventsPrefix))
    std::from_chars(name.data() + kEventsPrefix.size(), name.data() + name.size(), seconds);
  return seconds < std::numeric_limits<int64_t>::max() ? seconds : 0;
}

fs::path next_file(const fs::path& folder) {
  create_folder(folder);
  auto seconds = static_cast<int64_t>(now());
  std::error_code unreadable;
  for (const auto& entry : fs::directory_iterator(folder, unreadable))
    seconds = std::max(seconds, seconds_in(entry.path().filename().string()) + 1);
  return folder / fmt::format("{}{}.{}", kEventsPrefix, seconds, host_name());
}

}  // namespace

uint32_t masked_crc32c(Bytes bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8;
}

EventWriter::EventWriter(const fs::path& folder, int64_t first_step, Say say)
    : file_(next_file(folder), LogFile::Existing::refuse), say_(std::move(say)) {
  file_.append(as_bytes(record(file_version(now())) + record(session_start(now(), first_step))));
}

void EventWriter::add(const MetricRow& row) {
  append(record(scalars(row)));
}

void EventWriter::restart(int64_t step) {
  append(record(session_start(now(), step)));
}

void EventWriter::append(const std::string& records) {
  try {
    file_.append(as_bytes(records));
  } catch (const Error& e) {
    if (!failing_) say_(fmt::format("tensorboard: {}; training goes on without these points", e.what()));
    failing_ = true;
  }
}

}  // namespace moe
