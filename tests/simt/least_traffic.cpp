#include "tests/simt/least_traffic.h"

#include <algorithm>

namespace moe::test {
namespace {

// Numbers of four bytes that a launch reads and writes.
struct Numbers {
  double read, written;
};

class Ledger {
 public:
  void streams(const std::string& kernel, double launches, Numbers n) { add(kernel, launches, n, true); }
  void works(const std::string& kernel, double launches, Numbers n) { add(kernel, launches, n, false); }
  std::map<std::string, LeastTraffic> all;

 private:
  void add(const std::string& kernel, double launches, Numbers n, bool streams) {
    LeastTraffic& least = all[kernel];
    least.bytes += 4 * launches * (n.read + n.written);
    least.streams = streams;
  }
};

// N tokens, C channels, H hidden, E experts, R = N k rows, V symbols in the vocabulary.
struct Sizes {
  double L, T, N, C, H, E, R, V, heads, parameters, symbols;
};

void add_forward(Ledger& ledger, const Sizes& s) {
  const auto& [L, T, N, C, H, E, R, V, heads, parameters, symbols] = s;
  ledger.streams("embedding_forward_kernel", 1, {N + symbols * C, N * C});
  ledger.streams("embedding_forward_kernel", 1, {N + T * C, N * C});
  ledger.streams("elementwise_kernel<Sum>", 1, {2 * N * C, N * C});
  ledger.streams("layer_norm_forward_kernel<RowsInMemory>", L + 1, {N * C + 2 * C, N * C + 2 * N});
  ledger.streams("layer_norm_forward_kernel<RowsOfSums>", L, {2 * N * C + 2 * C, 2 * N * C + 2 * N});
  for (const char* kernel : {"attention_forward_kernel", "attention_forward_bf16_kernel"})
    ledger.works(kernel, L, {3 * N * C, N * C + N * heads});
  ledger.works("router_logits_forward_kernel", L, {N * C + 2 * E * C + 2 * E, 2 * N * E});
  ledger.works("gating_forward_kernel", L, {2 * N * E, 2 * R + N * E});
  ledger.works("plan_one_run_kernel", L, {R, 2 * R + 2 * E + 1});
  ledger.works("grouped_linear_forward_kernel", L, {N * C + 3 * C * C, 3 * N * C});
  ledger.works("grouped_linear_forward_kernel", L, {N * C + C * C + C, N * C});
  ledger.works("grouped_linear_forward_kernel", L, {N * C + R + E * H * C + E * H + E + 1, R * H});
  ledger.works("grouped_linear_forward_kernel", L, {R * H + E * C * H + E * C + E + 1, R * C});
  ledger.works("grouped_linear_forward_kernel", 1, {N * C + V * C + V, N * V});
  ledger.streams("combine_forward_kernel", L, {(R + N) * C + 2 * R, N * C});
  ledger.works("cross_entropy_forward_kernel", 1, {N * V + N, 2 * N});
  ledger.works("mean_kernel<Term>", 1, {N, 1});
}

void add_backward(Ledger& ledger, const Sizes& s) {
  const auto& [L, T, N, C, H, E, R, V, heads, parameters, symbols] = s;
  ledger.works("cross_entropy_backward_kernel", 1, {2 * N * V + 2 * N + 1, N * V});
  ledger.streams("layer_norm_backward_kernel<PutIntoDx>", L, {3 * N * C + C + 2 * N, N * C});
  ledger.streams("layer_norm_backward_kernel<PutIntoDx>", 1, {2 * N * C + C + 2 * N, N * C});
  ledger.streams("layer_norm_backward_kernel<PutIntoBoth>", L, {3 * N * C + C + 2 * N, 2 * N * C});
  ledger.streams("elementwise_kernel<SumBoth>", 1, {3 * N * C, 2 * N * C});
  for (const char* kernel : {"attention_backward_kernel", "attention_backward_bf16_kernel"})
    ledger.works(kernel, L, {5 * N * C + N * heads, 3 * N * C});
  ledger.streams("combine_backward_kernel", L, {(2 * R + N) * C + 3 * R, (R + N) * C + R});
  ledger.works("grouped_linear_backward_kernel", L, {N * C + 3 * N * C + 6 * C * C, N * C + 3 * C * C});
  ledger.works("grouped_linear_backward_kernel", L, {2 * N * C + 2 * C * C + C, N * C + C * C + C});
  ledger.works("grouped_linear_backward_kernel", 1, {N * C + N * V + 2 * V * C + V, N * C + V * C + V});
  ledger.works("grouped_linear_backward_kernel", L,
               {R * C + R * H + 2 * E * C * H + E * C + E + 1, R * H + E * C * H + E * C});
  ledger.works("grouped_linear_backward_kernel", L,
               {2 * R * H + N * C + R + 2 * E * H * C + E * H + E + 1, R * C + E * H * C + E * H});
  ledger.works("router_logits_backward_kernel", L,
               {2 * N * E + 2 * N * C + 4 * E * C + 2 * E, N * C + 2 * E * C + 2 * E});
  ledger.streams("gather_backward_kernel", L, {R * C + R, N * C});
  ledger.works("gating_backward_kernel", L, {7 * R, 2 * R});
  ledger.works("embedding_backward_kernel", 1, {N + N * C + symbols * C, symbols * C});
  ledger.works("embedding_backward_kernel", 1, {N + N * C + T * C, T * C});
  ledger.streams("sum_of_squares_kernel", 1, {parameters, 0});
  ledger.streams("adamw_kernel", 1, {4 * parameters, 4 * parameters});
}

}  // namespace

std::map<std::string, LeastTraffic> least_traffic(const ModelConfig& c, int64_t batch, int64_t symbols) {
  Sizes s{};
  s.L = static_cast<double>(c.n_layer);
  s.T = static_cast<double>(c.block_size);
  s.N = static_cast<double>(batch) * s.T;
  s.C = static_cast<double>(c.n_embed);
  s.H = static_cast<double>(c.hidden());
  s.E = static_cast<double>(c.num_experts);
  s.R = s.N * static_cast<double>(c.top_k);
  s.V = static_cast<double>(c.vocab_size);
  s.heads = static_cast<double>(c.n_head);
  s.parameters = c.parameters();
  s.symbols = static_cast<double>(symbols);
  Ledger ledger;
  add_forward(ledger, s);
  add_backward(ledger, s);
  return ledger.all;
}

std::string traffic_name(std::string_view kernel) {
  const std::string_view name = kernel.substr(0, kernel.find('<'));
  const auto named_by_argument = {"elementwise_kernel", "column_sums_kernel", "mean_kernel",
                                  "layer_norm_forward_kernel", "layer_norm_backward_kernel"};
  if (std::find(named_by_argument.begin(), named_by_argument.end(), name) == named_by_argument.end())
    return std::string(name);
  // What is computed is the last argument, without its namespaces.
  std::string_view last = kernel.substr(0, kernel.rfind('>'));
  last.remove_prefix(last.find_last_of(":,< ") + 1);
  return std::string(name) + "<" + std::string(last) + ">";
}

}  // namespace moe::test
