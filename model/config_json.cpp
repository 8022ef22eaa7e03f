// config.json, both ways.

#include <algorithm>
#include <limits>
#include <set>
#include <type_traits>
#include <utility>

#include "core/quote.h"
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

// One object of the file, each of whose keys must be asked for.
class ObjectReader {
 public:
  ObjectReader(const json& object, std::string name, const std::string& origin, ErrorKind kind)
      : object_(object), name_(std::move(name)), origin_(origin), kind_(kind) {
    if (!object.is_object()) throw error(kind, "{}: {} must be an object", origin, name_);
  }

  // nullptr when it is not there.
  const json* find(const char* key) {
    known_.insert(key);
    const auto it = object_.find(key);
    return it == object_.end() ? nullptr : &*it;
  }
  const json& at(const char* key) {
    if (const json* j = find(key)) return *j;
    throw error(kind_, "{}: {} lacks the key \"{}\"", origin_, name_, key);
  }

  template <class T>
  void read(const char* key, T& value) {
    convert(key, at(key), value);
  }
  template <class T>
  void read_if_there(const char* key, T& value) {
    if (const json* j = find(key)) convert(key, *j, value);
  }

  void refuse_unknown_keys() const {
    for (const auto& [key, value] : object_.items())
      if (!known_.contains(key))
        throw error(kind_, "{}: {} has the unknown key {}", origin_, name_, in_quotes(key));
  }

 private:
  Error wrong(const char* key, const std::string& wanted) const {
    return error(kind_, "{}: \"{}\" in {} must be {}", origin_, key, name_, wanted);
  }

  void convert(const char* key, const json& j, int64_t& value) const {
    constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!j.is_number_integer() || (j.is_number_unsigned() && j.get<uint64_t>() > kLargest))
      throw wrong(key, "an integer of 64 bits");
    value = j.get<int64_t>();
  }
  void convert(const char* key, const json& j, double& value) const {
    if (!j.is_number()) throw wrong(key, "a number");
    value = j.get<double>();
  }
  void convert(const char* key, const json& j, std::string& value) const {
    if (!j.is_string()) throw wrong(key, "a string");
    value = j.get<std::string>();
  }
  template <class E>
  requires std::is_enum_v<E>
  void convert(const char* key, const json& j, E& value) const {
    const auto& words = words_of<E>();
    const auto word =
        j.is_string() ? std::find(words.begin(), words.end(), j.get<std::string>()) : words.end();
    if (word == words.end()) throw wrong(key, fmt::format("one of {}", fmt::join(words, ", ")));
    value = static_cast<E>(word - words.begin());
  }

  const json& object_;
  std::string name_;
  const std::string& origin_;
  ErrorKind kind_;
  std::set<std::string> known_;
};

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
  std::string format;
  int64_t version = 0;
  top.read("format", format);
  top.read("version", version);
  if (format != kFormat || version != kVersion)
    throw error(kind, "{}: format {}, version {} is not \"{}\", version {}", origin, in_quotes(format),
                version, kFormat, kVersion);

  ModelConfig new_model;
  ObjectReader model_keys(top.at("model"), "\"model\"", origin, kind);
  model_keys.read("vocab_size", new_model.vocab_size);
  ModelConfig::fields(new_model,
                      [&](const char* name, auto& value, const char*) { model_keys.read(name, value); });
  model_keys.refuse_unknown_keys();

  TrainConfig new_training;
  if (const json* object = top.find("training")) {
    ObjectReader keys(*object, "\"training\"", origin, kind);
    TrainConfig::fields(new_training,
                        [&](const char* name, auto& value, const char*) { keys.read_if_there(name, value); });
    keys.refuse_unknown_keys();
  }
  top.refuse_unknown_keys();
  model = new_model;
  training = new_training;
}

}  // namespace moe
