#include "model/trainer_state.h"

#include <charconv>
#include <cmath>

#include "core/crc32c.h"
#include "core/file.h"
#include "core/quote.h"
#include "model/json.h"

namespace moe {
namespace {

using nlohmann::ordered_json;

constexpr const char* kFormat = "makemoe-trainer-state";
constexpr int64_t kVersion = 1;
constexpr int64_t kMost = int64_t{1} << 53;  // of anything counted

// Infinity and NaN have no JSON; they are null.
ordered_json number_or_null(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json(nullptr);
}

uint32_t hexadecimal(const std::string& text, const std::string& origin) {
  uint32_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (text.size() != 8 || code != std::errc() || end != text.data() + text.size())
    throw error(ErrorKind::checkpoint, "{}: {} is no checksum", origin, in_quotes(text));
  return value;
}

}  // namespace

DataId DataId::of(std::string_view text) {
  return {static_cast<int64_t>(text.size()), moe::crc32c(as_bytes(text))};
}

std::string to_json(const TrainerState& s) {
  ordered_json root = {{"format", kFormat}, {"version", kVersion}, {"step", s.step}, {"seed", s.seed}};
  root["data"] = {{"bytes", s.data.bytes}, {"crc32c", fmt::format("{:08x}", s.data.crc32c)}};
  root["metrics_rows"] = s.metrics_rows;
  root["evaluation"] = {{"step", s.evaluated},
                        {"train_loss", number_or_null(s.evaluation.train)},
                        {"val_loss", number_or_null(s.evaluation.validation)}};
  root["best"] = {{"step", s.best_step},
                  {"val_loss", number_or_null(s.best)},
                  {"evaluations_since", s.evaluations_since_best}};
  root["losses"] = {{"mean", s.losses.mean},
                    {"variance", s.losses.variance},
                    {"count", s.losses.losses},
                    {"skipped", s.losses.skipped},
                    {"finite", s.losses.finite}};
  root["rewind_step"] = s.rewind_step;
  root["attempt"] = s.attempt;
  root["rewinds"] = s.rewinds;
  return root.dump(2) + "\n";
}

TrainerState trainer_state_from_json(const std::string& text, const std::string& origin) {
  constexpr ErrorKind kKind = ErrorKind::checkpoint;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  const nlohmann::json root = parse_json(text, origin, kKind);
  ObjectReader top(root, "the file", origin, kKind);
  top.expect_format(kFormat, kVersion);
  TrainerState s;
  top.read("step", s.step);
  top.read("seed", s.seed);
  top.read("metrics_rows", s.metrics_rows);
  s.rewind_step = s.step;  // where an older version did not write it
  if (top.find("rewind_step") != nullptr) top.read("rewind_step", s.rewind_step);
  top.read("attempt", s.attempt);
  top.read("rewinds", s.rewinds);
  const auto object = [&](const char* key) { return ObjectReader(top.at(key), key, origin, kKind); };

  ObjectReader data = object("data");
  std::string checksum;
  data.read("bytes", s.data.bytes);
  data.read("crc32c", checksum);
  s.data.crc32c = hexadecimal(checksum, origin);
  data.refuse_unknown_keys();

  ObjectReader evaluation = object("evaluation");
  evaluation.read("step", s.evaluated);
  evaluation.read_or_null("train_loss", s.evaluation.train, kNaN);
  evaluation.read_or_null("val_loss", s.evaluation.validation, kNaN);
  evaluation.refuse_unknown_keys();

  ObjectReader best = object("best");
  best.read("step", s.best_step);
  best.read_or_null("val_loss", s.best, kInfinity);
  best.read("evaluations_since", s.evaluations_since_best);
  best.refuse_unknown_keys();

  ObjectReader losses = object("losses");
  losses.read("mean", s.losses.mean);
  losses.read("variance", s.losses.variance);
  losses.read("count", s.losses.losses);
  losses.read("skipped", s.losses.skipped);
  losses.read("finite", s.losses.finite);
  losses.refuse_unknown_keys();
  top.refuse_unknown_keys();

  for (const int64_t count : {s.step, s.data.bytes, s.metrics_rows, s.evaluations_since_best, s.losses.losses,
                              s.losses.skipped, s.rewind_step, s.attempt, s.rewinds})
    if (count < 0 || count > kMost) throw error(kKind, "{}: {} is negative or no count", origin, count);
  if (s.seed < 0) throw error(kKind, "{}: seed {} is negative", origin, s.seed);
  if (s.evaluated > s.step || s.best_step > s.step || s.rewind_step > s.step)
    throw error(kKind, "{}: an evaluation or a rewind after step {}, the last that was made", origin, s.step);
  return s;
}

}  // namespace moe
