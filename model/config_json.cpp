// config.json, both ways.

#include <algorithm>
#include <type_traits>

#include "model/config.h"
#include "model/json.h"

namespace moe {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kFormat = "makemoe";
constexpr int64_t kVersion = 1;

template <class T>
ordered_json as_json(T value) {
  if constexpr (std::is_enum_v<T>)
    return words_of<T>()[static_cast<size_t>(value)];
  else
    return value;
}

template <class Config>
void write_fields(const Config& config, ordered_json& object) {
  Config::fields(config, [&](const char* name, auto value, const char*) { object[name] = as_json(value); });
}

template <class T>
void convert(const ObjectReader& reader, const char* key, const json& j, T& value) {
  if constexpr (std::is_enum_v<T>) {
    const auto& words = words_of<T>();
    const auto word =
        j.is_string() ? std::find(words.begin(), words.end(), j.get<std::string>()) : words.end();
    if (word == words.end()) throw reader.wrong(key, fmt::format("one of {}", fmt::join(words, ", ")));
    value = static_cast<T>(word - words.begin());
  } else {
    reader.convert(key, j, value);
  }
}

}  // namespace

std::string to_json(const ModelConfig& model, const TrainConfig& training) {
  ordered_json root = {{"format", kFormat}, {"version", kVersion}};
  root["model"]["vocab_size"] = model.vocab_size;
  write_fields(model, root["model"]);
  write_fields(training, root["training"]);
  return root.dump(2) + "\n";
}

void from_json(const std::string& text, const std::string& origin, ErrorKind kind, ModelConfig& model,
               TrainConfig& training) {
  const json root = parse_json(text, origin, kind);
  ObjectReader top(root, "the file", origin, kind);
  top.expect_format(kFormat, kVersion);

  ModelConfig new_model;
  ObjectReader model_keys(top.at("model"), "\"model\"", origin, kind);
  model_keys.read("vocab_size", new_model.vocab_size);
  ModelConfig::fields(new_model, [&](const char* name, auto& value, const char*) {
    convert(model_keys, name, model_keys.at(name), value);
  });
  model_keys.refuse_unknown_keys();

  TrainConfig new_training;
  if (const json* object = top.find("training")) {
    ObjectReader keys(*object, "\"training\"", origin, kind);
    TrainConfig::fields(new_training, [&](const char* name, auto& value, const char*) {
      if (const json* j = keys.find(name)) convert(keys, name, *j, value);
    });
    keys.refuse_unknown_keys();
  }
  top.refuse_unknown_keys();
  model = new_model;
  training = new_training;
}

}  // namespace moe
