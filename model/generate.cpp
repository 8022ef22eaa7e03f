#include "model/generate.h"

#include <algorithm>

#include "model/streams.h"

namespace moe {

Generator::Generator(const MoeLm& model, const SamplerConfig& sampler, uint64_t seed)
    : model_(model),
      sampler_(sampler),
      seed_(seed),
      cache_(model.config(), 1, model.dtype(), model.device()),
      arena_(model.device()) {
  sampler.validate();
  cacheable_ = model.config().rows_stand_alone();
}

void Generator::append(int32_t token) {
  if (static_cast<int64_t>(window_.size()) == model_.config().block_size) {
    window_.erase(window_.begin());
    slid_ = true;
  }
  window_.push_back(token);
  logits_fresh_ = false;
}

void Generator::feed(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) append(token);
}

int32_t Generator::next() {
  const int32_t token = sample_token(logits(), window_, sampler_, rng_address(seed_, drawn_, Draw::sample));
  ++drawn_;
  append(token);
  return token;
}

std::span<const float> Generator::logits() {
  require(!window_.empty(), "generate: nothing to continue");
  if (!logits_fresh_) {
    if (!cacheable_ || (slid_ && model_.device() != Device::cpu))
      take(run(ids_from(0), nullptr));
    else if (slid_)
      run_full_window();
    else
      take(run(ids_from(cache_.length), &cache_));
    logits_fresh_ = true;
  }
  return logits_;
}

std::span<const int32_t> Generator::experts() {
  (void)logits();
  return experts_;
}

Tensor Generator::ids_from(int64_t begin) const {
  const auto ids = std::span<const int32_t>(window_).subspan(static_cast<size_t>(begin));
  return Tensor::from(ids, {1, static_cast<int64_t>(ids.size())}).to(model_.device());
}

LmOutput Generator::run(const Tensor& ids, KvCache* cache) {
  Tape tape(arena_, Mode::infer);
  ForwardOptions options;
  options.seed = seed_;  // of router noise, in a model that keeps it on
  options.step = drawn_;
  options.cache = cache;
  options.last_only = cacheable_;
  return model_.forward(tape, ids, options);
}

void Generator::run_full_window() {
  if (full_window_.calls.empty()) {
    full_window_.ids = ids_from(0);
    arena_.lend_to_graph();
    full_window_.calls = RecordedCalls::of([this] { full_window_.out = run(full_window_.ids, nullptr); });
  } else {
    std::ranges::copy(window_, full_window_.ids.data<int32_t>());
    full_window_.calls.repeat();
  }
  take(full_window_.out);
}

void Generator::take(const LmOutput& out) {
  const Tensor& all = out.logits.value();
  const Tensor row = all.rows(all.size(0) - 1, all.size(0)).to(Device::cpu);
  if (row.dtype() == DType::f64)
    logits_.assign(row.span<double>().begin(), row.span<double>().end());
  else
    logits_.assign(row.span<float>().begin(), row.span<float>().end());
  experts_.clear();
  for (const LayerRouting& layer : out.routing) {
    const Tensor& expert = layer.router.gating.expert;
    const Tensor last = expert.rows(expert.size(0) - 1, expert.size(0)).to(Device::cpu);
    experts_.push_back(last.span<int32_t>().front());
  }
}

std::vector<int32_t> default_prompt(const Tokenizer& tokenizer) {
  return {tokenizer.find("\n").value_or(0)};
}

}  // namespace moe
