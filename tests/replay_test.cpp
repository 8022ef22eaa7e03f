#include "model/replay.h"

#include <cmath>
#include <string>
#include <vector>

#include "tests/process.h"

using namespace moe;

namespace {

const std::vector<std::string> kCases{"makemoe_dropless", "makemoe_capacity", "odd", "starved", "plain"};

std::string golden(const std::string& name) {
  return std::string(MOE_SOURCE_DIR) + "/tests/golden/" + name + ".safetensors";
}

std::vector<NamedTensor> tensors_of(const Safetensors& file) {
  std::vector<NamedTensor> tensors;
  for (const auto& entry : file.entries()) tensors.push_back({entry.name, file.tensor(entry.name)});
  return tensors;
}

// The recording with `change` made to its tensors and metadata.
template <class Change>
Safetensors altered(const std::string& name, Change&& change) {
  const Safetensors file = Safetensors::read(golden(name));
  std::vector<NamedTensor> tensors = tensors_of(file);
  Metadata metadata = file.metadata();
  change(tensors, metadata);
  const SafetensorsImage image(tensors, metadata);
  std::string bytes;
  for (const Bytes piece : image.pieces())
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  return Safetensors::parse(bytes, "altered");
}

const Tensor& find(const std::vector<NamedTensor>& tensors, const std::string& name) {
  for (const NamedTensor& t : tensors)
    if (t.name == name) return t.tensor;
  throw error(ErrorKind::runtime, "no tensor {}", name);
}

bool says(const std::string& message, const char* words) {
  UNSCOPED_INFO(message);
  return message.find(words) != std::string::npos;
}

// The rows that are out of tolerance.
std::vector<std::string> failures(const Safetensors& recording, DType dtype) {
  std::vector<std::string> names;
  for (const ReplayRow& row : replay_makemoe(recording, dtype)) {
    INFO(row.what << ": " << row.error << " in " << row.worst << ", tolerance " << row.tolerance);
    if (!row.passed()) names.push_back(row.what);
  }
  return names;
}

}  // namespace

TEST_CASE("recorded runs of the reference are reproduced: logits, losses, gradients and weights",
          "[replay]") {
  for (const std::string& name : kCases) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      for (const ReplayRow& row : replay_makemoe(Safetensors::read(golden(name)), dtype)) {
        INFO(name << " in " << name_of(dtype) << ", " << row.what << ": " << row.error << " in "
                  << row.worst);
        CHECK(row.error <= row.tolerance);
      }
    }
  }
}

TEST_CASE("a replay in double has nothing left but the recording's rounding to float", "[replay]") {
  for (const std::string& name : kCases)
    for (const ReplayRow& row : replay_makemoe(Safetensors::read(golden(name)), DType::f64)) {
      INFO(name << ", " << row.what << " in " << row.worst);
      CHECK(row.error < 2 * 0x1p-24);
    }
}

TEST_CASE("a replay notices one wrong number of any kind", "[replay]") {
  const auto failing = [](const std::string& tensor) {
    return failures(altered("odd",
                            [&](auto& tensors, auto&) {
                              float& x = find(tensors, tensor).template data<float>()[0];
                              x = x * 1.001f + 1e-4f;
                            }),
                    DType::f64);
  };
  using Names = std::vector<std::string>;
  CHECK(failing("step1/logits") == Names{"logits, step 1"});
  CHECK(failing("step2/loss") == Names{"losses"});
  CHECK(failing("grad/blocks.1.sa.heads.1.key.weight") == Names{"gradients, step 0"});
  CHECK(failing("final/blocks.0.smoe.experts.2.net.0.bias") == Names{"final weights"});
  CHECK(!failing("weight/blocks.0.smoe.router.noise_linear.bias").empty());
  CHECK(!failing("step0/noise/1").empty());
}

TEST_CASE("a replay notices one NaN, wherever it stands, and names its tensor", "[replay]") {
  const auto check_found = [](const std::string& tensor, DType dtype, const std::string& row_name) {
    INFO(tensor << " in " << name_of(dtype));
    const Safetensors recording = altered("odd", [&](auto& tensors, auto&) {
      const std::span<float> values = find(tensors, tensor).template span<float>();
      values[values.size() / 2] = NAN;
    });
    for (const ReplayRow& row : replay_makemoe(recording, dtype)) {
      CHECK(row.passed() == (row.what != row_name));
      if (row.what == row_name) CHECK(row.worst == tensor);
    }
  };
  for (const DType dtype : {DType::f32, DType::f64}) {
    check_found("step1/logits", dtype, "logits, step 1");
    check_found("step0/loss", dtype, "losses");
    check_found("grad/blocks.0.sa.heads.1.key.weight", dtype, "gradients, step 0");
    check_found("final/blocks.0.smoe.experts.1.net.0.weight", dtype,
                dtype == DType::f64 ? "final weights" : "change of weights, rms");
  }
}

TEST_CASE("a replay depends on capacity, learning rate and the order of steps", "[replay]") {
  const auto with = [](const char* key, const char* value) {
    return failures(altered("odd", [&](auto&, Metadata& m) { m[key] = value; }), DType::f64);
  };
  CHECK(!with("capacity_factor", "0").empty());
  CHECK(!with("capacity_factor", "0.7").empty());
  CHECK(!with("learning_rate", "0.0010001").empty());
  CHECK(with("capacity_factor", "0.6").empty());
  const auto nan = altered("odd", [](auto& tensors, auto&) {
    find(tensors, "weight/lm_head.bias").template data<float>()[0] = NAN;
  });
  CHECK(!failures(nan, DType::f32).empty());
  CHECK(!failures(nan, DType::f64).empty());
}

TEST_CASE("a file that is no recording is a checkpoint error that says what is wrong", "[replay]") {
  const auto message = [](auto&& change) {
    return message_of(ErrorKind::checkpoint, [&] { replay_makemoe(altered("odd", change), DType::f32); });
  };
  const auto with = [&](const char* key, const char* value) {
    return message([&](auto&, Metadata& m) { m[key] = value; });
  };
  CHECK(says(message([](auto&, Metadata& m) { m.erase("n_head"); }), "n_head"));
  CHECK(says(with("n_head", "two"), "n_head"));
  CHECK(says(with("n_head", "3"), "divisible"));
  CHECK(says(with("top_k", "4"), "top"));
  CHECK(says(with("n_embed", "1000000"), "larger model"));
  CHECK(says(with("batch_size", "4"), "step0/idx"));
  CHECK(says(with("batch_size", "999999999999999"), "batch_size"));
  CHECK(says(with("steps", "4"), "steps"));
  CHECK(says(with("vocab_size", "10"), "token_embedding_table"));
  CHECK(
      says(message([](auto& tensors, auto&) { find(tensors, "step0/idx").template data<int64_t>()[3] = 11; }),
           "step0/idx"));
  CHECK(says(message([](auto& tensors, auto&) {
               std::erase_if(tensors, [](const NamedTensor& t) { return t.name == "final/ln_f.bias"; });
             }),
             "final/ln_f.bias"));
  CHECK(says(message([](auto& tensors, auto&) {
               tensors.push_back({"weight/extra", Tensor::zeros({1}, DType::f32)});
             }),
             "weight/extra"));
}

TEST_CASE("replay_makemoe leaves with 0 within tolerance, 1 out of it, 4 for what is no recording",
          "[replay]") {
  const TempFolder folder;
  const auto replay = [&](const Arguments& arguments) {
    Arguments all{"replay_makemoe"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return run(folder, all);
  };
  for (const char* dtype : {"f32", "f64"}) {
    const Result r = replay({golden("odd"), "--dtype", dtype});
    CHECK(r.code == 0);
    CHECK(r.out.find("all within tolerance") != std::string::npos);
  }
  const Safetensors file = Safetensors::read(golden("odd"));
  const std::vector<NamedTensor> tensors = tensors_of(file);
  for (const NamedTensor& t : tensors)
    if (t.name == "grad/ln_f.bias") t.tensor.data<float>()[0] += 0.01f;
  write_safetensors(folder / "wrong.safetensors", tensors, file.metadata());
  const Result wrong = replay({"wrong.safetensors"});
  CHECK(wrong.code == 1);
  CHECK(wrong.out.find("FAILED  grad/ln_f.bias") != std::string::npos);
  write_safetensors(folder / "other.safetensors", tensors);
  for (const char* name : {"other.safetensors", "missing.safetensors"}) {
    const Result refused = replay({name});
    CHECK(refused.code == 4);
    CHECK(refused.err.starts_with("replay_makemoe: "));
    CHECK(refused.err.find(name) != std::string::npos);
    CHECK(refused.out.empty());
  }
}
