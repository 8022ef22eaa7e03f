#pragma once
// Training runs as a user starts them, with everything switched on that makes resuming hard.

#include <csignal>
#include <nlohmann/json.hpp>

#include "core/parallel.h"
#include "model/checkpoint.h"
#include "tests/process.h"

namespace moe::test {

inline constexpr const char* kCheckpointFiles[] = {"config.json", "tokenizer.json", "trainer_state.json",
                                                   "optimizer.safetensors", "model.safetensors"};

// A folder with a text of 28 characters' vocabulary in it.
struct RunShop : TempFolder {
  RunShop() {
    std::string text;
    for (int i = 0; i < 200; ++i) text += "the " + std::to_string(i * i % 97) + " quick brown foxes\n";
    std::ofstream(*this / "text.txt", std::ios::binary) << text;
  }

  // Dropout, noise and capacity are on, and so are accumulation, a schedule, clipping and auxiliary losses.
  Arguments training(const std::string& out, int steps, const Arguments& more = {}) const {
    Arguments a{"train_moe", "text.txt", "--out", out, "--max-iters", std::to_string(steps)};
    for (const char* word :
         {"--n-embed",       "16",     "--n-head",       "2",    "--n-layer",           "1",
          "--num-experts",   "4",      "--block-size",   "8",    "--batch-size",        "4",
          "--eval-interval", "7",      "--eval-iters",   "2",    "--accumulate",        "2",
          "--schedule",      "cosine", "--warmup-iters", "5",    "--min-learning-rate", "1e-5",
          "--grad-clip",     "1",      "--balance-loss", "0.01", "--capacity-factor",   "1.25",
          "--save-interval", "5",      "--no-report"})
      a.emplace_back(word);
    a.insert(a.end(), more.begin(), more.end());
    return a;
  }
  // A run that takes most ups and downs of the loss for a divergence.
  Arguments nervous_training(const std::string& out, int steps, const Arguments& more = {}) const {
    Arguments a = training(
        out, steps,
        {"--spike-zscore", "1.5", "--max-skips", "1", "--max-rewinds", "100", "--learning-rate", "1e-5"});
    a.insert(a.end(), more.begin(), more.end());
    return a;
  }
  Arguments resuming(const std::string& out, const Arguments& more = {}) const {
    Arguments a{"train_moe", "text.txt", "--resume", "auto", "--out", out, "--no-report"};
    a.insert(a.end(), more.begin(), more.end());
    return a;
  }

  // The five files of a checkpoint, one behind the other.
  std::string bytes(const std::string& checkpoint) const {
    std::string all;
    for (const char* file : kCheckpointFiles) all += file_text(path() / checkpoint / file) + "\n";
    return all;
  }
};

// Options of a run whose first update breaks the weights.
inline Arguments breaking(const Arguments& more = {}) {
  Arguments all{"--schedule",      "constant", "--min-learning-rate", "0",
                "--learning-rate", "1e30",     "--warmup-iters",      "0"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

// The rows of its metrics.jsonl that are whole.
inline std::vector<nlohmann::json> rows_of(const std::filesystem::path& out) {
  std::vector<nlohmann::json> rows;
  std::ifstream file(out / "metrics.jsonl");
  for (std::string line; std::getline(file, line) && !file.eof();)
    rows.push_back(nlohmann::json::parse(line));
  return rows;
}

// The steps of the rows that have `key`.
inline std::vector<int64_t> steps_with(const std::filesystem::path& out, const char* key) {
  std::vector<int64_t> steps;
  for (const auto& row : rows_of(out))
    if (row.contains(key)) steps.push_back(row["step"]);
  return steps;
}

// 0 to n - 1.
inline std::vector<int64_t> counting(int64_t n) {
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < n; ++i) numbers.push_back(i);
  return numbers;
}

// Numbers of a test's own, the same in every run of it.
class Dice {
 public:
  explicit Dice(uint32_t seed) : state_(seed) {}
  // Uniform in [0, n).
  int roll(int n) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int>((state_ >> 33) % static_cast<uint64_t>(n));
  }

 private:
  uint64_t state_;
};

inline void pause(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

}  // namespace moe::test
