// What one steady training step of the default model costs on the GPU, counted by the executor: launches,
// waits, allocations, copies, and for each kernel the memory that it moves beside the least it could.
//
//   moe_simt_traffic [--layers N] [--batch N] [--symbols N] [--write FILE | --check]
//
// Prints tables in Markdown, or puts them into FILE behind the line that says where they come from. With
// --check it prints what breaks a rule, and leaves with 1 if something does: kernels that stream ask for 95 %
// of their bytes in accesses of 128 bits, where rows begin on 16 bytes, and none touches more than 1.25 times
// the bytes that it has to.

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <tuple>

#include "autograd/ops.h"
#include "model/streams.h"
#include "model/trainer.h"
#include "tests/in_precision.h"
#include "tests/random_text.h"
#include "tests/simt/executor/code_place.h"
#include "tests/simt/executor/counters.h"
#include "tests/simt/executor/race.h"
#include "tests/simt/executor/traffic.h"
#include "tests/simt/least_traffic.h"

namespace moe::test {
namespace {

constexpr double kWideShare = 0.95, kMostOverLeast = 1.25;

// How many different tokens the step's batch has.
int64_t symbols_of(const ModelConfig& c, const TrainConfig& t, const Corpus& corpus, int64_t step) {
  const Tensor tokens = Tensor::empty({t.batch_size, c.block_size}, DType::i32);
  const Tensor targets = Tensor::empty(tokens.shape(), DType::i32);
  draw_sequences(corpus.tensor(Device::cpu).rows(0, corpus.training_ids()),
                 rng_address(static_cast<uint64_t>(t.seed), step, Draw::train_batch), 0, tokens, targets);
  const auto ids = tokens.span<int32_t>();
  return static_cast<int64_t>(std::set<int32_t>(ids.begin(), ids.end()).size());
}

struct Step {
  simt::Counters all;
  std::map<std::string, simt::Counters> kernels;  // by traffic_name
  std::set<std::string> instances;                // their whole names
  std::map<std::string, LeastTraffic> least;
  std::map<std::string, std::map<const void*, simt::traffic::Place>> places;  // by whole names
};

// The third step of a run, which is the first that only replays a graph.
Step count_step(const ModelConfig& c, int64_t batch, Precision precision) {
  constexpr int64_t kStep = 2;
  const InPrecision computing(precision);
  TrainConfig config;
  config.batch_size = batch;
  config.grad_clip = 1;
  const Corpus corpus = random_text(c.vocab_size);
  const MoeLm model(c, DType::f32, Device::cuda);
  model.initialise(static_cast<uint64_t>(config.seed));
  Trainer trainer(model, config, corpus, plan_memory(c, config, INT64_MAX, Device::cuda));
  for (int64_t i = 0; i < kStep; ++i) trainer.step(i);
  cudaDeviceSynchronize();
  const simt::Counters before = simt::counters();
  simt::counters_of_kernels().clear();
  simt::traffic::count(true);
  trainer.enter(kStep);
  const simt::Counters cost = simt::counters() - before;  // what is counted at once: waits and copies
  trainer.next(true);
  cudaDeviceSynchronize();
  simt::traffic::count(false);
  Step step{simt::counters() - before,
            {},
            {},
            least_traffic(c, batch, symbols_of(c, config, corpus, kStep)),
            simt::traffic::places()};
  step.all.host_syncs = cost.host_syncs;
  for (const auto& [kernel, counters] : simt::counters_of_kernels()) {
    step.kernels[traffic_name(kernel)] += counters;
    step.instances.insert(kernel);
  }
  return step;
}

// The traffic names of what a step launches and another does not.
std::set<std::string> only_in(const Step& step, const Step& other) {
  std::set<std::string> names;
  for (const std::string& kernel : step.instances)
    if (!other.instances.contains(kernel)) names.insert(traffic_name(kernel));
  return names;
}

double ratio(double part, double whole) {
  return whole == 0 ? 0 : part / whole;
}

// What misses its goal is set in bold.
std::string cell(const std::string& text, bool bad) {
  return bad ? "**" + text + "**" : text;
}
std::string cell(double value, bool bad) {
  return cell(fmt::format("{:.2f}", value), bad);
}

double wide_share(const simt::Counters& c) {
  return ratio(static_cast<double>(c.bytes_in_128_bits),
               static_cast<double>(c.bytes_loaded_by_warps + c.bytes_stored_by_warps));
}

std::string row(const std::string& kernel, const simt::Counters& c,
                const std::map<std::string, LeastTraffic>& all) {
  const auto found = all.find(kernel);
  const bool streams = found != all.end() && found->second.streams;
  const auto once = static_cast<double>(c.bytes_read_once + c.bytes_written_once);
  const double least = found != all.end() ? found->second.bytes : once;
  const double blocks =
      ratio(static_cast<double>(c.bytes_loaded_by_blocks + c.bytes_stored_by_blocks), least);
  const double warps = ratio(static_cast<double>(c.bytes_loaded_by_warps + c.bytes_stored_by_warps), least);
  const double sectors = ratio(static_cast<double>(c.sectors), static_cast<double>(c.least_sectors));
  const double conflicts =
      ratio(static_cast<double>(c.bank_conflicts), static_cast<double>(c.shared_accesses));
  const double wide = wide_share(c);
  return fmt::format(
      "| `{}` | {} | {:.1f}{} | {} | {} | {:.2f} | {} | {} | {} |\n", kernel, c.kernels, least / 1024,
      found == all.end() ? " *" : "", cell(ratio(once, least), once > kMostOverLeast * least),
      cell(blocks, blocks > kMostOverLeast), warps,
      cell(fmt::format("{:.0f} %", 100 * wide), streams && wide < kWideShare),
      cell(sectors, sectors > kMostOverLeast), c.shared_accesses ? cell(conflicts, conflicts > 0) : "");
}

std::string table(const Step& step, const std::set<std::string>& kernels) {
  std::string text =
      "| kernel | launches | least, KiB | launches / least | blocks / least | warps / least | 128 bits | "
      "sectors | conflicts "
      "|\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n";
  for (const auto& [kernel, counters] : step.kernels)
    if (kernels.contains(kernel)) text += row(kernel, counters, step.least);
  return text;
}

// Which lines cost a kernel a twentieth of its sectors more than the least, or conflicts a twentieth of its
// accesses to shared memory.
std::string lines_of(const Step& step, const std::set<std::string>& kernels) {
  std::map<std::tuple<std::string, std::string>, simt::traffic::Place> lines;
  for (const auto& [kernel, places] : step.places)
    for (const auto& [code, place] : places) {
      auto& line = lines[{traffic_name(kernel), simt::place_of(code)}];
      line.more_sectors += place.more_sectors;
      line.bank_conflicts += place.bank_conflicts;
    }
  std::string text = "| kernel | line | sectors beyond the least | bank conflicts |\n|---|---|--:|--:|\n";
  for (const auto& [name, line] : lines) {
    const auto& [kernel, place] = name;
    const simt::Counters& all = step.kernels.at(kernel);
    if (!kernels.contains(kernel)) continue;
    if (20 * line.more_sectors < all.least_sectors && 20 * line.bank_conflicts < all.shared_accesses)
      continue;
    if (line.more_sectors + line.bank_conflicts == 0) continue;
    text += fmt::format(
        "| `{}` | `{}` | {:.0f} % | {:.0f} % |\n", kernel, place,
        100 * ratio(static_cast<double>(line.more_sectors), static_cast<double>(all.least_sectors)),
        100 * ratio(static_cast<double>(line.bank_conflicts), static_cast<double>(all.shared_accesses)));
  }
  return text;
}

std::string totals(const simt::Counters& c) {
  return fmt::format(
      "| of a step | |\n|---|--:|\n"
      "| kernels of this project | {} |\n| products of cuBLAS | {} |\n| memory filled | {} times, {} bytes "
      "|\n"
      "| copied to the device | {} bytes |\n| copied to the host | {} bytes |\n| copies in all | {} |\n"
      "| waits of the host | {} |\n| allocations | {} |\n",
      c.kernels, c.products, c.fills, c.bytes_filled, c.bytes_to_device, c.bytes_to_host, c.copies,
      c.host_syncs, c.allocations);
}

// Whether a kernel keeps the two rules that are no matter of degree; says which it breaks.
bool keeps_rules(const std::string& kernel, const simt::Counters& c, const LeastTraffic& least) {
  const double over = ratio(static_cast<double>(c.bytes_read_once + c.bytes_written_once), least.bytes);
  const bool narrow = least.streams && wide_share(c) < kWideShare;
  if (over > kMostOverLeast)
    fmt::print(stderr, "{}: touches {:.2f} times the bytes that it has to\n", kernel, over);
  if (narrow)
    fmt::print(stderr, "{}: {:.1f} % of its bytes in accesses of 128 bits\n", kernel, 100 * wide_share(c));
  return over <= kMostOverLeast && !narrow;
}

bool all_keep_rules(const Step& step) {
  bool all = true;
  for (const auto& [kernel, counters] : step.kernels)
    if (const auto least = step.least.find(kernel); least != step.least.end())
      all &= keeps_rules(kernel, counters, least->second);
  return all;
}

void write(const std::filesystem::path& file, const std::string& tables) {
  constexpr std::string_view kMark = "<!-- the rest is written by moe_simt_traffic -->\n";
  std::ifstream in(file);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  text.resize(std::min(text.size(), text.find(kMark)));
  std::ofstream(file) << text << kMark << '\n' << tables;
}

int run(int argc, char** argv) {
  ModelConfig c;
  c.vocab_size = 65;  // of the characters of Shakespeare's plays
  int64_t batch = TrainConfig().batch_size;
  std::filesystem::path file;
  CLI::App app("Counts what a training step costs on the GPU");
  app.add_option("--layers", c.n_layer);
  app.add_option("--batch", batch);
  app.add_option("--symbols", c.vocab_size);
  app.add_option("--write", file);
  bool check = false;
  app.add_flag("--check", check);
  CLI11_PARSE(app, argc, argv);

  simt::race::check_accesses(false);  // which the tests do
  const Step fp32 = count_step(c, batch, Precision::fp32), bf16 = count_step(c, batch, Precision::bf16);
  if (check) {
    const bool fp32_keeps = all_keep_rules(fp32), bf16_keeps = all_keep_rules(bf16);
    return fp32_keeps && bf16_keeps ? 0 : 1;
  }
  const std::set<std::string> all = only_in(fp32, {}), others = only_in(bf16, fp32);
  const std::string tables = fmt::format(
      "{} layers, {} sequences of {} tokens, {} characters, {} channels, {} experts, {} of them a token, "
      "fp32:\n\n"
      "{}\n{}\n{}\nThe kernels that are others in bf16:\n\n{}\n{}",
      c.n_layer, batch, c.block_size, c.vocab_size, c.n_embed, c.num_experts, c.top_k, totals(fp32.all),
      table(fp32, all), lines_of(fp32, all), table(bf16, others), lines_of(bf16, others));
  if (file.empty())
    fmt::print("{}", tables);
  else
    write(file, tables);
  return 0;
}

}  // namespace
}  // namespace moe::test

int main(int argc, char** argv) {
  return moe::test::run(argc, argv);
}
