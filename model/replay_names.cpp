#include "model/replay_names.h"

#include <array>

namespace moe {
namespace {

// Puts `to` in place of the first `from`; false when there is none.
bool replace(std::string& text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) return false;
  text.replace(at, from.size(), to);
  return true;
}

Shape without_first(const Shape& shape) {
  return Shape(std::span(shape.begin() + 1, shape.end()));
}

}  // namespace

std::string noise_router_name(int64_t layer) {
  return "blocks." + std::to_string(layer) + ".smoe.router.noise_linear.weight";
}

std::vector<RecordedTensor> recorded_tensors(const ModelConfig& c, const Parameter& p) {
  std::vector<RecordedTensor> pieces;
  std::string name = p.name;
  if (replace(name, ".attn.qkv.weight", ".sa.heads.")) {
    constexpr std::array parts{"query", "key", "value"};
    for (size_t part = 0; part < parts.size(); ++part) {
      for (int64_t head = 0; head < c.n_head; ++head) {
        const int64_t begin = static_cast<int64_t>(part) * c.n_embed + head * c.head_dim();
        const int64_t end = begin + c.head_dim();
        pieces.push_back({name + std::to_string(head) + "." + parts[part] + ".weight", "",
                          p.value.rows(begin, end), p.grad.rows(begin, end)});
      }
    }
    return pieces;
  }
  const bool up = replace(name, ".moe.experts.up.", ".smoe.experts.{}.net.0.");
  if (up || replace(name, ".moe.experts.down.", ".smoe.experts.{}.net.2.")) {
    const Shape shape = without_first(p.value.shape());
    for (int64_t e = 0; e < c.num_experts; ++e) {
      std::string expert = name;
      replace(expert, "{}", std::to_string(e));
      pieces.push_back(
          {expert, "", p.value.rows(e, e + 1).reshape(shape), p.grad.rows(e, e + 1).reshape(shape)});
    }
    return pieces;
  }
  replace(name, ".attn.proj.", ".sa.proj.");
  replace(name, ".moe.noise.", ".smoe.router.noise_linear.");
  replace(name, "_embedding.", "_embedding_table.");
  std::string other = name;
  replace(name, ".moe.router.", ".smoe.router.topkroute_linear.");
  if (!replace(other, ".moe.router.", ".smoe.router.linear.")) other.clear();
  pieces.push_back({name, other, p.value, p.grad});
  return pieces;
}

}  // namespace moe
