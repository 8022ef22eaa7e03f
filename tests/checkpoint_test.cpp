#include "model/checkpoint.h"

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "model/json.h"
#include "tests/file_size_limit.h"
#include "tests/temp_folder.h"

using namespace moe;
using Catch::Matchers::Contains;

namespace {

namespace fs = std::filesystem;

constexpr const char* kFiles[] = {"config.json", "tokenizer.json", "model.safetensors"};

ModelConfig tiny() {
  ModelConfig c;
  c.vocab_size = 3;
  c.block_size = 2;
  c.n_embed = 2;
  c.n_head = 1;
  c.n_layer = 1;
  c.num_experts = 2;
  c.top_k = 1;
  c.router = RouterKind::topk;
  return c;
}

// Two tensors with as many elements as the configuration has parameters.
std::vector<Parameter> parameters_of(const ModelConfig& c, float first) {
  const auto n = static_cast<int64_t>(c.parameters());
  std::vector<Parameter> ps = {Parameter::create("first", {n - 6}, DType::f32),
                               Parameter::create("second", {2, 3}, DType::f32)};
  for (const Parameter& p : ps)
    for (float& x : p.value.span<float>()) x = first++;
  return ps;
}

void save(const fs::path& folder, float first = 1, const ModelConfig& c = tiny()) {
  save_checkpoint(folder, c, TrainConfig(), CharTokenizer::from_text("abc"), parameters_of(c, first),
                  {{"step", "7"}});
}

// The first element of the model that the folder holds.
float load(const fs::path& folder) {
  const Checkpoint c = load_checkpoint(folder);
  const auto ps = parameters_of(c.model, 0);
  c.copy_to(ps);
  return ps[0].value.data<float>()[0];
}

std::string bytes_of(const fs::path& path) {
  return read_file(path, ErrorKind::data, 1 << 20);
}

// Without the care and the cost of write_file.
void write_whole(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string refusal(const fs::path& folder) {
  return message_of(ErrorKind::checkpoint, [&] { load(folder); });
}

// Rewrites model.safetensors without checksums, as another program might.
template <class Change>
void rewrite(const fs::path& folder, Change change) {
  std::vector<NamedTensor> tensors;
  const auto file = Safetensors::read(folder / "model.safetensors");
  for (const auto& e : file.entries()) tensors.push_back({e.name, file.tensor(e.name)});
  change(tensors);
  write_safetensors(folder / "model.safetensors", tensors);
}

}  // namespace

TEST_CASE("a checkpoint comes back whole", "[checkpoint]") {
  const TempFolder folder;
  const fs::path out = folder / "deep/out";
  TrainConfig training;
  training.seed = 5;
  const auto tokenizer = CharTokenizer::from_text("a\n\xe2\x82\xac");
  const auto saved = parameters_of(tiny(), 0.5f);
  save_checkpoint(out, tiny(), training, tokenizer, saved, {{"step", "7"}, {"val_loss", "1.75"}});

  const Checkpoint c = load_checkpoint(out);
  CHECK(to_json(c.model, c.training) == to_json(tiny(), training));
  CHECK(c.tokenizer == tokenizer);
  CHECK(c.note("step") == "7");
  CHECK(c.note("val_loss") == "1.75");
  CHECK(c.note("other").empty());
  const auto loaded = parameters_of(tiny(), 0);
  c.copy_to(loaded);
  for (size_t i = 0; i < saved.size(); ++i) {
    const auto a = saved[i].value.span<float>(), b = loaded[i].value.span<float>();
    CHECK(std::vector(a.begin(), a.end()) == std::vector(b.begin(), b.end()));
  }
  CHECK(folder.temporary_files() == 0);
}

TEST_CASE("saving the same model twice writes the same bytes", "[checkpoint]") {
  const TempFolder folder;
  save(folder / "a");
  save(folder / "b");
  for (const char* name : kFiles) CHECK(bytes_of(folder / "a" / name) == bytes_of(folder / "b" / name));
}

TEST_CASE("a folder without a model, or with a part of one, is refused by the missing file", "[checkpoint]") {
  const TempFolder folder;
  CHECK_THAT(refusal(folder / "missing"), Contains("config.json: No such file"));
  for (const char* name : kFiles) {
    save(folder.path());
    fs::remove(folder / name);
    CHECK_THAT(refusal(folder.path()), Contains(std::string(name) + ": No such file"));
  }
}

TEST_CASE("a checkpoint cut short at any byte is refused", "[checkpoint]") {
  const TempFolder folder;
  save(folder.path());
  for (const char* name : kFiles) {
    const std::string whole = bytes_of(folder / name);
    for (size_t n = 0; n < whole.size(); ++n) {
      fs::resize_file(folder / name, n);
      REQUIRE_THAT(refusal(folder.path()), Contains(name));
      write_whole(folder / name, whole);
    }
  }
  CHECK(load(folder.path()) == 1);
}

TEST_CASE("a flipped bit in config.json or tokenizer.json is refused", "[checkpoint]") {
  const TempFolder folder;
  save(folder.path());
  for (const char* name : {"config.json", "tokenizer.json"}) {
    const std::string whole = bytes_of(folder / name);
    for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
      std::string flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      write_whole(folder / name, flipped);
      REQUIRE_THAT(refusal(folder.path()), Contains(name));
    }
    write_whole(folder / name, whole);
  }
  CHECK(load(folder.path()) == 1);
}

TEST_CASE("without checksums, a flipped bit in the JSON files is refused or makes a valid model",
          "[checkpoint]") {
  const TempFolder folder;
  save(folder.path());
  rewrite(folder.path(), [](auto&) {});
  int taken = 0;
  for (const char* name : {"config.json", "tokenizer.json"}) {
    const std::string whole = bytes_of(folder / name);
    for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
      std::string flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      write_whole(folder / name, flipped);
      try {
        const Checkpoint c = load_checkpoint(folder.path());
        ++taken;
        REQUIRE_NOTHROW(c.model.validate());
        REQUIRE(c.model.vocab_size == c.tokenizer.size());
        REQUIRE(c.model.parameters() == tiny().parameters());
      } catch (const Error& e) {
        REQUIRE(e.kind() == ErrorKind::checkpoint);
      }
    }
    write_whole(folder / name, whole);
  }
  CHECK(taken > 0);
}

TEST_CASE("a flipped bit in model.safetensors is refused or changes no parameter", "[checkpoint]") {
  const TempFolder folder;
  save(folder.path());
  const std::string whole = bytes_of(folder / "model.safetensors");
  const auto saved = parameters_of(tiny(), 1);
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    write_whole(folder / "model.safetensors", flipped);
    try {
      const auto loaded = parameters_of(tiny(), 0);
      load_checkpoint(folder.path()).copy_to(loaded);
      for (size_t i = 0; i < saved.size(); ++i)
        REQUIRE(std::memcmp(saved[i].value.bytes_begin(), loaded[i].value.bytes_begin(),
                            static_cast<size_t>(saved[i].value.nbytes())) == 0);
    } catch (const Error& e) {
      REQUIRE(e.kind() == ErrorKind::checkpoint);
    }
  }
}

TEST_CASE("files of two checkpoints are not mixed", "[checkpoint]") {
  const TempFolder folder;
  ModelConfig other = tiny();
  other.activation = Activation::silu;  // the same shapes, but another model
  save(folder / "a");
  save(folder / "b", 2, other);
  for (const char* name : {"config.json", "model.safetensors"}) {
    save(folder / "a");
    fs::copy_file(folder / "b" / name, folder / "a" / name, fs::copy_options::overwrite_existing);
    CHECK_THAT(refusal(folder / "a"), Contains("config.json: it is not the file that"));
  }
  save_checkpoint(folder / "b", tiny(), TrainConfig(), CharTokenizer::from_text("xyz"),
                  parameters_of(tiny(), 2));
  save(folder / "a");
  fs::copy_file(folder / "b/tokenizer.json", folder / "a/tokenizer.json",
                fs::copy_options::overwrite_existing);
  CHECK_THAT(refusal(folder / "a"), Contains("tokenizer.json: it is not the file that"));
}

TEST_CASE("tensors that do not fit the model are named", "[checkpoint]") {
  const TempFolder folder;
  const auto why = [&](auto&& change) {
    save(folder.path());
    rewrite(folder.path(), change);
    return refusal(folder.path());
  };
  using Tensors = std::vector<NamedTensor>&;
  CHECK_THAT(why([](Tensors t) { t[1].name = "other"; }), Contains("tensors are missing: \"second\""));
  CHECK_THAT(why([](Tensors t) {
               t.push_back({"third", Tensor::zeros({0}, DType::f32)});
             }),
             Contains("tensors that this model does not have: \"third\""));
  CHECK_THAT(why([](Tensors t) {
               t[1].tensor = t[1].tensor.reshape({3, 2});
             }),
             Contains("tensor \"second\" is f32 [3, 2], not f32 [2, 3]"));
  CHECK_THAT(why([](Tensors t) {
               t[1].tensor = Tensor::zeros({2, 3}, DType::f64);
             }),
             Contains("tensor \"second\" is f64 [2, 3], not f32 [2, 3]"));
  CHECK_THAT(why([](Tensors t) { t.pop_back(); }), Contains("parameters"));
}

TEST_CASE("a configuration that asks for another amount of memory than the file holds is refused",
          "[checkpoint]") {
  const TempFolder folder;
  save(folder.path());
  rewrite(folder.path(), [](auto&) {});
  const std::string text = bytes_of(folder / "config.json");
  const auto with = [&](const char* key, int64_t value) {
    auto j = nlohmann::json::parse(text);
    j["model"][key] = value;
    write_whole(folder / "config.json", j.dump());
    return refusal(folder.path());
  };
  CHECK_THAT(with("n_embed", 1 << 20), Contains("parameters"));
  CHECK_THAT(with("n_layer", 4000), Contains("parameters"));
  CHECK_THAT(with("n_layer", 4001), Contains("config.json: --n-layer 4001 is larger than 4000"));
  CHECK_THAT(with("vocab_size", 4), Contains("vocab_size is 4, but tokenizer.json has 3 characters"));
}

TEST_CASE("a model of an empty vocabulary is refused", "[checkpoint]") {
  const TempFolder folder;
  ModelConfig c = tiny();
  c.vocab_size = 0;
  save_checkpoint(folder.path(), c, TrainConfig(), CharTokenizer(), parameters_of(c, 1));
  CHECK_THAT(refusal(folder.path()), Contains("config.json: vocab_size is 0"));
}

TEST_CASE("a tokenizer that would not be read back is not saved", "[checkpoint]") {
  const TempFolder folder;
  save(folder / "out");
  // Tokens of 254, 255 and 256 bytes that are written as two each: some 1100 bytes a token.
  const BpeTokenizer bytes;
  StringList tokens;
  for (int32_t id = 0; id < 256; ++id) tokens.add(bytes.decode(id));
  std::string first = "\x80\x80";
  for (; first.size() < 254; first += '\x80') tokens.add(first);
  tokens.add(first);
  for (int a = 0; a < 256; ++a) tokens.add(first + static_cast<char>(a));
  for (int a = 0; a < 256; ++a)
    for (int b = 0; b < 256; ++b) tokens.add((first + static_cast<char>(a)) + static_cast<char>(b));
  BpeBuilder builder(tokens);
  for (size_t id = 256; id < tokens.size(); ++id) {
    const std::string_view token = tokens[id];
    const auto id_of = [&](std::string_view part) { return builder.find(part); };
    builder.add({id_of(token.substr(0, token.size() - 1)), id_of(token.substr(token.size() - 1))});
  }
  const Tokenizer huge = *std::move(builder).finish();
  CHECK_THAT(
      message_of(
          ErrorKind::usage,
          [&] { save_checkpoint(folder / "out", tiny(), TrainConfig(), huge, parameters_of(tiny(), 2)); }),
      Contains("tokens make a tokenizer.json of") && Contains("--vocab-size"));
  CHECK(load(folder / "out") == 1);
}

TEST_CASE("when the disk has no room, the older checkpoint stays valid", "[checkpoint]") {
  const TempFolder folder;
  save(folder.path());
  ModelConfig other = tiny();
  other.activation = Activation::silu;
  for (const char* name : kFiles) {
    const FileSizeLimit limit(fs::file_size(folder / name) - 1);
    CHECK_THAT(message_of(ErrorKind::resource, [&] { save(folder.path(), 2, other); }),
               Contains("File too large"));
    CHECK(load(folder.path()) == 1);
    CHECK(folder.temporary_files() == 0);
  }
  save(folder.path(), 2, other);
  CHECK(load(folder.path()) == 2);
}
