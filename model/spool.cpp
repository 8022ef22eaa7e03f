#include "model/spool.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "core/crc32c.h"
#include "model/json.h"

namespace moe {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFolder = "mlflow";
constexpr size_t kLongestLine = 16 << 20;
constexpr size_t kChunk = 256 << 10;
constexpr size_t kPrefixBytes = 9;  // the checksum and a space

std::string checksum(std::string_view text) {
  return fmt::format("{:08x}", crc32c(as_bytes(text)));
}

// Pairs keep their order in an array, which an object would not.
json as_json(const NamedTexts& texts) {
  json list = json::array();
  for (const auto& [name, value] : texts) list.push_back({name, value});
  return list;
}

NamedTexts texts_in(const json& list) {
  NamedTexts texts;
  for (const json& pair : list)
    texts.emplace_back(pair.at(0).get<std::string>(), pair.at(1).get<std::string>());
  return texts;
}

json as_json(const RunStart& r) {
  return {{"kind", "start"}, {"id", r.id},     {"server", r.server},          {"experiment", r.experiment},
          {"name", r.name},  {"time", r.time}, {"params", as_json(r.params)}, {"tags", as_json(r.tags)}};
}

json as_json(const RunResume& r) {
  return {{"kind", "resume"}, {"step", r.step}, {"changed", as_json(r.changed)}};
}

json as_json(const MetricRow& r) {
  json values = json::object();
  for (const auto& [name, value] : r.values) values[name] = number_to_json(value);
  return {{"kind", "metrics"}, {"step", r.step}, {"time", r.time}, {"values", std::move(values)}};
}

json as_json(const RunFile& r) {
  return {{"kind", "file"}, {"path", r.path}};
}

json as_json(const RunEnd& r) {
  return {{"kind", "end"}, {"status", static_cast<int>(r.status)}, {"time", r.time}};
}

int64_t integer_at(const json& j, const char* key) {
  const std::optional<int64_t> value = integer_in(j.at(key));
  if (!value) throw error(ErrorKind::data, "no integer");
  return *value;
}

SpoolRecord start_in(const json& j) {
  const std::string id = j.at("id");
  if (id.empty() || id.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw error(ErrorKind::data, "no id");  // it becomes part of a query
  return RunStart{id,
                  j.at("server"),
                  j.at("experiment"),
                  j.at("name"),
                  integer_at(j, "time"),
                  texts_in(j.at("params")),
                  texts_in(j.at("tags"))};
}

SpoolRecord row_in(const json& j) {
  MetricRow row{integer_at(j, "step"), j.at("time"), {}};
  for (const auto& [name, value] : j.at("values").items())
    row.values.emplace_back(name, number_from_json(value));
  return row;
}

SpoolRecord record_in(const json& j) {
  const std::string kind = j.at("kind");
  if (kind == "start") return start_in(j);
  if (kind == "resume") return RunResume{integer_at(j, "step"), texts_in(j.at("changed"))};
  if (kind == "metrics") return row_in(j);
  if (kind == "file") return RunFile{j.at("path")};
  const int64_t status = integer_at(j, "status");
  if (kind != "end" || status < 1 || status > static_cast<int>(RunStatus::killed))
    throw error(ErrorKind::data, "no record");
  return RunEnd{static_cast<RunStatus>(status), integer_at(j, "time")};
}

fs::path new_spool(const fs::path& out, const RunStart& start) {
  create_folder(out / kFolder);
  return out / kFolder / fmt::format("{}-{}.spool", start.time / 1000, start.id);
}

// Reads up to `size` bytes; fewer only at the end of the file.
std::string read_at(int file, int64_t offset, size_t size, const fs::path& path) {
  std::string bytes(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n = ::pread(file, bytes.data() + done, size - done, offset + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      throw error(ErrorKind::data, "cannot read {}: {}", path.string(),
                  std::generic_category().message(errno));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace

std::string to_line(const SpoolRecord& record) {
  const std::string text = json_text(std::visit([](const auto& r) { return as_json(r); }, record));
  return checksum(text) + ' ' + text + '\n';
}

std::optional<SpoolRecord> parse_line(std::string_view line) {
  if (line.size() <= kPrefixBytes) return std::nullopt;
  const std::string_view text = line.substr(kPrefixBytes);
  if (line.substr(0, kPrefixBytes) != checksum(text) + ' ') return std::nullopt;
  try {
    return record_in(parse_json(text, "", ErrorKind::data, {}, text.size()));  // a row may be long
  } catch (const Error&) {
    return std::nullopt;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

std::vector<fs::path> find_spools(const fs::path& out) {
  std::vector<fs::path> spools;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(out / kFolder, none))
    if (entry.path().extension() == ".spool") spools.push_back(entry.path());
  std::ranges::sort(spools);
  return spools;
}

SpoolWriter::SpoolWriter(const fs::path& out, const RunStart& start)
    : file_(new_spool(out, start), LogFile::Existing::refuse) {
  file_.append(as_bytes(to_line(start)));
}

SpoolWriter::SpoolWriter(const fs::path& spool) : file_(spool, LogFile::Existing::keep) {
  int64_t end = 0;
  SpoolReader reader(spool);
  while (reader.skip_line()) end = reader.offset();
  if (end < file_.size()) file_.cut(end);
}

bool SpoolWriter::append(const SpoolRecord& record) {
  waiting_.push_back(to_line(record));
  try {
    for (; !waiting_.empty(); waiting_.pop_front()) file_.append(as_bytes(waiting_.front()));
    return true;
  } catch (const Error& e) {
    problem_ = e.what();
  }
  for (; waiting_.size() > kMostWaiting; waiting_.pop_front()) ++lost_;
  return false;
}

void SpoolWriter::sync() {
  try {
    file_.sync();
  } catch (const Error& e) {
    problem_ = e.what();
  }
}

SpoolReader::SpoolReader(const fs::path& spool)
    : path_(spool), file_(::open(spool.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  struct stat status {};
  const bool open = file_ >= 0 && ::fstat(file_, &status) == 0;
  if (open && S_ISREG(status.st_mode)) return;
  const std::string why = open ? "it is no file" : std::generic_category().message(errno);
  if (file_ >= 0) ::close(file_);
  throw error(ErrorKind::data, "cannot read {}: {}", path_.string(), why);
}

SpoolReader::~SpoolReader() {
  ::close(file_);
}

std::optional<std::string_view> SpoolReader::next_line() {
  auto begin = static_cast<size_t>(offset_ - buffer_begin_);
  size_t end = buffer_.find('\n', begin);
  if (end == std::string::npos) {
    buffer_.clear();  // the begin of a line that was not complete may have become another line
    buffer_begin_ = offset_;
    begin = 0;
  }
  while (end == std::string::npos) {
    const size_t old = buffer_.size();
    if (old > kLongestLine)
      throw error(ErrorKind::data, "{}: it is no spool: a line is longer than {} bytes", path_.string(),
                  kLongestLine);
    buffer_ += read_at(file_, buffer_begin_ + static_cast<int64_t>(old), kChunk, path_);
    end = buffer_.find('\n', old);
    if (end == std::string::npos && buffer_.size() - old < kChunk) return std::nullopt;
  }
  offset_ = buffer_begin_ + static_cast<int64_t>(end) + 1;
  return std::string_view(buffer_).substr(begin, end - begin);
}

std::optional<SpoolRecord> SpoolReader::next() {
  while (const auto line = next_line()) {
    if (auto record = parse_line(*line)) return record;
    ++damaged_;
  }
  return std::nullopt;
}

bool SpoolReader::skip_line() {
  return next_line().has_value();
}

bool SpoolReader::seek(int64_t offset) {
  if (offset == offset_) return true;
  if (offset < 0 || (offset > 0 && read_at(file_, offset - 1, 1, path_) != "\n")) return false;
  if (offset < buffer_begin_ || offset > buffer_begin_ + static_cast<int64_t>(buffer_.size())) {
    buffer_.clear();
    buffer_begin_ = offset;
  }
  offset_ = offset;
  return true;
}

std::optional<RunStart> start_of_spool(const std::filesystem::path& spool) {
  auto record = SpoolReader(spool).next();
  auto* start = record ? std::get_if<RunStart>(&*record) : nullptr;
  return start ? std::optional(std::move(*start)) : std::nullopt;
}

}  // namespace moe
