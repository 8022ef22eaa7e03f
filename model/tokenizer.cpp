#include "model/tokenizer.h"

namespace moe {

Tokenizer Tokenizer::from_text(std::string_view text, TokenizerKind kind, int64_t vocab_size) {
  if (kind == TokenizerKind::bpe) return BpeTokenizer::train(text, vocab_size);
  return CharTokenizer::from_text(text);
}

int64_t Tokenizer::size() const {
  return std::visit([](const auto& t) { return t.size(); }, is_);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const std::string& what) const {
  return std::visit([&](const auto& t) { return t.encode(text, what); }, is_);
}

std::string Tokenizer::decode(int32_t id) const {
  return std::visit([&](const auto& t) { return std::string(t.decode(id)); }, is_);
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) text += decode(id);
  return text;
}

std::optional<int32_t> Tokenizer::find(std::string_view bytes) const {
  for (int32_t id = 0; id < size(); ++id)
    if (decode(id) == bytes) return id;
  return std::nullopt;
}

}  // namespace moe
