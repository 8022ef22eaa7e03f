// Sums, embedding, layer norm, dropout and cross entropy. Attention has a file of its own.

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "autograd/ops.h"
#include "tests/op_cases.h"

namespace moe::test {
namespace {

// n ids that jump about in [0, symbols) and meet each other.
std::vector<int32_t> some_ids(int64_t n, int64_t symbols) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) ids[static_cast<size_t>(i)] = static_cast<int32_t>(i * i * 7 % symbols);
  return ids;
}

void add_add(OpCases& cases, const Shape& shape, std::optional<Cost> benchmark = {}) {
  cases.push_back({.op = "add",
                   .label = shape.str(),
                   .inputs = {normal("a", shape), normal("b", shape)},
                   .build = [](Tape& tape, Inputs in) { return add(tape, in[0], in[1]); },
                   .reference =
                       []<class T>(const Values<T>& in) {
                         std::vector<T> y = in[0];
                         for (size_t i = 0; i < y.size(); ++i) y[i] += in[1][i];
                         return y;
                       },
                   .benchmark = benchmark});
}

void add_add_to_itself(OpCases& cases) {
  cases.push_back({.op = "add",
                   .label = "of one value twice",
                   .inputs = {normal("x", {5})},
                   .build = [](Tape& tape, Inputs in) { return add(tape, in[0], in[0]); },
                   .reference =
                       []<class T>(const Values<T>& in) {
                         std::vector<T> y;
                         for (const T x : in[0]) y.push_back(x + x);
                         return y;
                       }});
}

void add_add_bias(OpCases& cases, const Shape& shape, std::optional<Cost> benchmark = {}) {
  const int64_t dim = shape[-1];
  // No rows: nothing reaches the bias.
  const Gradient gradient = shape.numel() ? Gradient::checked : Gradient::zero;
  cases.push_back({.op = "add_bias",
                   .label = shape.str(),
                   .inputs = {normal("x", shape), normal("bias", {dim}, gradient)},
                   .build = [](Tape& tape, Inputs in) { return add_bias(tape, in[0], in[1]); },
                   .reference =
                       [dim]<class T>(const Values<T>& in) {
                         std::vector<T> y = in[0];
                         for (size_t i = 0; i < y.size(); ++i) y[i] += in[1][i % static_cast<size_t>(dim)];
                         return y;
                       },
                   .benchmark = benchmark});
}

void add_scale(OpCases& cases, const Shape& shape, double factor, std::optional<Cost> benchmark = {}) {
  cases.push_back({.op = "scale",
                   .label = fmt::format("{} by {}", shape.str(), factor),
                   .inputs = {normal("x", shape, factor == 0 ? Gradient::zero : Gradient::checked)},
                   .build = [=](Tape& tape, Inputs in) { return scale(tape, in[0], factor); },
                   .reference =
                       [=]<class T>(const Values<T>& in) {
                         std::vector<T> y;
                         for (const T x : in[0]) y.push_back(static_cast<T>(factor) * x);
                         return y;
                       },
                   .benchmark = benchmark});
}

void add_embedding(OpCases& cases, int64_t n, int64_t symbols, int64_t dim,
                   std::optional<Cost> benchmark = {}) {
  const std::vector<int32_t> ids = some_ids(n, symbols);
  const Gradient gradient = n ? Gradient::checked : Gradient::zero;
  cases.push_back(
      {.op = "embedding",
       .label = fmt::format("{} of {}x{}", n, symbols, dim),
       .inputs = {normal("table", {symbols, dim}, gradient)},
       .build = [=](Tape& tape, Inputs in) { return embedding(tape, in[0], ints(tape, {n}, ids)); },
       .reference =
           [=]<class T>(const Values<T>& in) {
             std::vector<T> y;
             for (const int32_t id : ids)
               for (int64_t c = 0; c < dim; ++c) y.push_back(in[0][static_cast<size_t>(id * dim + c)]);
             return y;
           },
       .benchmark = benchmark});
}

// Rows of dim columns.
template <class T>
std::vector<T> normalized(int64_t dim, const std::vector<T>& x, const std::vector<T>& gain,
                          const std::vector<T>& bias) {
  std::vector<T> y(x.size());
  const T columns = static_cast<T>(dim);
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(dim)) {
    const T* in = x.data() + row;
    T average = 0, variance = 0;
    for (int64_t c = 0; c < dim; ++c) average += in[c] / columns;
    for (int64_t c = 0; c < dim; ++c) variance += (in[c] - average) * (in[c] - average) / columns;
    for (size_t c = 0; c < static_cast<size_t>(dim); ++c)
      y[row + c] = (in[c] - average) / std::sqrt(variance + T(1e-5)) * gain[c] + bias[c];
  }
  return y;
}

template <class T>
std::vector<T> dropped(double p, const RngAddress& rng, std::vector<T> x) {
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = random_u32(rng, i) < p * 0x1p32 ? T(0) : x[i] / static_cast<T>(1 - p);
  return x;
}

void add_layer_norm(OpCases& cases, int64_t rows, int64_t dim, double mean, Gradient of_x, Gradient of_gain,
                    Gradient of_bias, std::optional<Cost> benchmark = {}) {
  const auto reference = [=]<class T>(const Values<T>& in) { return normalized(dim, in[0], in[1], in[2]); };
  cases.push_back({.op = "layer_norm",
                   .label = fmt::format("{}x{} around {}", rows, dim, mean),
                   .inputs = {normal("x", {rows, dim}, of_x, 1, mean), normal("gain", {dim}, of_gain, 0.3, 1),
                              normal("bias", {dim}, of_bias)},
                   .build = [](Tape& tape, Inputs in) { return layer_norm(tape, in[0], in[1], in[2]); },
                   .reference = reference,
                   .benchmark = benchmark});
}

void add_layer_norm(OpCases& cases, int64_t rows, int64_t dim, double mean = 0) {
  const Gradient g = Gradient::checked;
  add_layer_norm(cases, rows, dim, mean, g, g, g);
}

// Which of the results the rest of the model uses; both: their sum.
enum class Uses { sum, norm, both };

void add_add_layer_norm(OpCases& cases, int64_t rows, int64_t dim, double p, Uses uses,
                        std::optional<Cost> benchmark = {}) {
  const RngAddress rng{.seed = 5, .step = 8, .stream = 3};
  const Gradient inner = rows ? Gradient::checked : Gradient::zero;
  const Gradient of_norm = uses == Uses::sum ? Gradient::zero : inner;
  const char* const used = uses == Uses::sum ? "sum" : uses == Uses::norm ? "norm" : "both";
  cases.push_back({.op = "add_layer_norm",
                   .label = fmt::format("{}x{}, p = {}, {} used", rows, dim, p, used),
                   .inputs = {normal("x", {rows, dim}, inner), normal("y", {rows, dim}, inner),
                              normal("gain", {dim}, of_norm, 0.3, 1), normal("bias", {dim}, of_norm)},
                   .build =
                       [=](Tape& tape, Inputs in) {
                         const SumAndNorm r = add_layer_norm(tape, in[0], in[1], in[2], in[3], p, rng);
                         if (uses == Uses::both) return add(tape, r.sum, r.norm);
                         return uses == Uses::sum ? r.sum : r.norm;
                       },
                   .reference =
                       [=]<class T>(const Values<T>& in) {
                         std::vector<T> sum = dropped(p, rng, in[1]);
                         for (size_t i = 0; i < sum.size(); ++i) sum[i] += in[0][i];
                         std::vector<T> y = normalized(dim, sum, in[2], in[3]);
                         for (size_t i = 0; i < sum.size(); ++i)
                           y[i] = uses == Uses::both ? y[i] + sum[i] : uses == Uses::sum ? sum[i] : y[i];
                         return y;
                       },
                   .benchmark = benchmark});
}

void add_dropout(OpCases& cases, const Shape& shape, double p, std::optional<Cost> benchmark = {}) {
  const RngAddress rng{.seed = 0x123456789ABCDEF0u, .step = 3, .stream = 9};
  cases.push_back({.op = "dropout",
                   .label = fmt::format("{} with p = {}", shape.str(), p),
                   .inputs = {normal("x", shape)},
                   .build = [=](Tape& tape, Inputs in) { return dropout(tape, in[0], p, rng); },
                   .reference = [=]<class T>(const Values<T>& in) { return dropped(p, rng, in[0]); },
                   .benchmark = benchmark});
}

void add_cross_entropy(OpCases& cases, int64_t rows, int64_t symbols, double deviation = 1,
                       std::optional<Cost> benchmark = {}) {
  const std::vector<int32_t> targets = some_ids(rows, symbols);
  const auto reference = [=]<class T>(const Values<T>& in) {
    T loss = 0;
    for (int64_t n = 0; n < rows; ++n) {
      const T* row = in[0].data() + n * symbols;
      T most = row[0], total = 0;
      for (int64_t v = 0; v < symbols; ++v) most = std::max(most, row[v]);
      for (int64_t v = 0; v < symbols; ++v) total += std::exp(row[v] - most);
      loss += most + std::log(total) - row[targets[static_cast<size_t>(n)]];
    }
    return std::vector<T>{loss / static_cast<T>(rows)};
  };
  const Gradient gradient = symbols > 1 ? Gradient::checked : Gradient::zero;
  cases.push_back(
      {.op = "cross_entropy",
       .label = fmt::format("{}x{} deviation {}", rows, symbols, deviation),
       .inputs = {normal("logits", {rows, symbols}, gradient, deviation)},
       .build = [=](Tape& tape,
                    Inputs in) { return cross_entropy(tape, in[0], ints(tape, {rows}, targets)); },
       .reference = reference,
       .benchmark = benchmark});
}

}  // namespace

void add_attention_cases(OpCases&);

void add_dense_cases(OpCases& cases) {
  const int64_t typical = 512 * 128;  // elements of 16 sequences of 32 tokens with 128 channels

  for (const Shape& shape : {Shape{1}, Shape{7}, Shape{0, 4}, Shape{2, 3, 1, 5}}) add_add(cases, shape);
  add_add_to_itself(cases);
  add_add(cases, {512, 128},
          Cost{.bytes = float_bytes(3 * typical), .backward_bytes = float_bytes(5 * typical)});

  for (const Shape& shape : {Shape{1}, Shape{3, 5}, Shape{0, 4}, Shape{2, 3, 4}, Shape{130, 3}})
    add_add_bias(cases, shape);
  add_add_bias(cases, {512, 128},
               Cost{.bytes = float_bytes(2 * typical), .backward_bytes = float_bytes(3 * typical)});

  add_scale(cases, {1}, 2);
  add_scale(cases, {3, 5}, -1.7);
  add_scale(cases, {7}, 0);
  add_scale(cases, {0}, 3);
  add_scale(cases, {512, 128}, 0.01,
            Cost{.bytes = float_bytes(2 * typical), .backward_bytes = float_bytes(3 * typical)});

  add_embedding(cases, 0, 5, 3);
  add_embedding(cases, 1, 1, 1);
  add_embedding(cases, 9, 5, 3);
  add_embedding(cases, 4, 7, 37);
  add_embedding(cases, 512, 65, 128,
                Cost{.bytes = float_bytes(2 * typical), .backward_bytes = float_bytes(3 * typical)});

  const Gradient checked = Gradient::checked, zero = Gradient::zero;
  add_layer_norm(cases, 1, 4);
  add_layer_norm(cases, 3, 5);
  add_layer_norm(cases, 2, 17, 10);
  add_layer_norm(cases, 67, 3);
  add_layer_norm(cases, 4, 1, 0, zero, zero, checked);  // one column: h is 0
  add_layer_norm(cases, 0, 4, 0, zero, zero, zero);
  add_layer_norm(cases, 512, 128, 0, checked, checked, checked,
                 Cost{.bytes = float_bytes(2 * typical), .backward_bytes = float_bytes(4 * typical)});

  for (const double p : {0.0, 0.3}) {
    for (const Uses uses : {Uses::sum, Uses::norm, Uses::both}) add_add_layer_norm(cases, 5, 17, p, uses);
    add_add_layer_norm(cases, 0, 4, p, Uses::both);
    add_add_layer_norm(cases, 67, 4, p, Uses::both);
  }
  add_add_layer_norm(cases, 512, 128, 0.1, Uses::both,
                     Cost{.bytes = float_bytes(4 * typical), .backward_bytes = float_bytes(7 * typical)});

  add_dropout(cases, {0}, 0.5);
  add_dropout(cases, {3, 5}, 0.5);
  add_dropout(cases, {2, 37}, 0.1);
  add_dropout(cases, {9, 60}, 0.75);
  add_dropout(cases, {512, 128}, 0.1,
              Cost{.bytes = float_bytes(2 * typical), .backward_bytes = float_bytes(3 * typical)});

  add_cross_entropy(cases, 1, 1);
  add_cross_entropy(cases, 1, 2);
  add_cross_entropy(cases, 3, 9, 10);
  add_cross_entropy(cases, 5, 7);
  add_cross_entropy(cases, 80, 65, 2);
  add_cross_entropy(cases, 512, 65, 1,
                    Cost{.bytes = float_bytes(512 * 65), .backward_bytes = float_bytes(3 * 512 * 65)});

  add_attention_cases(cases);
}

}  // namespace moe::test
