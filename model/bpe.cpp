#include "model/bpe.h"

#include <algorithm>
#include <queue>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "model/byte_alphabet.h"
#include "model/text.h"
#include "model/words.h"

namespace moe {
namespace {

std::pair<int32_t, int32_t> order(Merge pair) {
  return {pair.left, pair.right};
}

}  // namespace

BpeTokenizer::BpeTokenizer() {
  for (int32_t id = 0; id < kBytes; ++id) {
    const char byte = static_cast<char>(byte_of_rank(id));
    tokens_.add({&byte, 1});
  }
}

const BpeTokenizer::Rule* BpeTokenizer::find(Merge pair) const {
  const auto rule =
      std::ranges::lower_bound(rules_, order(pair), {}, [](const Rule& r) { return order(r.pair); });
  return rule != rules_.end() && rule->pair == pair ? &*rule : nullptr;
}

std::vector<Merge> BpeTokenizer::merges() const {
  std::vector<Merge> merges(rules_.size());
  for (const Rule& rule : rules_) merges[static_cast<size_t>(rule.rank)] = rule.pair;
  return merges;
}

std::string_view BpeTokenizer::decode(int32_t id) const {
  require(id >= 0 && id < size(), "tokenizer: id {} is not in [0, {})", id, size());
  return tokens_[static_cast<size_t>(id)];
}

// Joins the tokens of one word: always the pair of the lowest rank, of equal ones the leftmost. A heap keeps
// a word of n bytes at n log n.
class BpeTokenizer::WordEncoder {
 public:
  explicit WordEncoder(const BpeTokenizer& tokenizer) : t_(tokenizer) {}

  void append(std::string_view word, std::vector<int32_t>& ids) {
    start(word);
    while (!joins_.empty()) {
      const Join join = joins_.top();
      joins_.pop();
      if (holds(join)) apply(join);
    }
    for (int64_t i = 0; i >= 0; i = symbols_[static_cast<size_t>(i)].next)
      ids.push_back(symbols_[static_cast<size_t>(i)].id);
  }

 private:
  static constexpr int64_t kNone = -1;
  // A token and its neighbours. Of two that were joined the left one stays, and the right one is gone.
  struct Symbol {
    int32_t id;
    int64_t before, next;
  };
  struct Join {
    const Rule* rule;
    int64_t at;
    bool operator<(const Join& other) const {  // the last in order is the first to leave the heap
      return std::tie(rule->rank, at) > std::tie(other.rule->rank, other.at);
    }
  };

  Symbol& symbol(int64_t at) { return symbols_[static_cast<size_t>(at)]; }

  void start(std::string_view word) {
    symbols_.clear();
    const auto length = static_cast<int64_t>(word.size());
    for (int64_t i = 0; i < length; ++i)
      symbols_.push_back({rank_of_byte(static_cast<unsigned char>(word[static_cast<size_t>(i)])), i - 1,
                          i + 1 < length ? i + 1 : kNone});
    for (int64_t i = 0; i < length; ++i) propose(i);
  }

  // Whether the pair that was proposed still stands there.
  bool holds(const Join& join) {
    const Symbol& left = symbol(join.at);
    return left.id == join.rule->pair.left && left.next != kNone &&
           symbol(left.next).id == join.rule->pair.right;
  }

  void propose(int64_t at) {
    if (at == kNone || symbol(at).next == kNone) return;
    if (const Rule* rule = t_.find({symbol(at).id, symbol(symbol(at).next).id})) joins_.push({rule, at});
  }

  void apply(const Join& join) {
    Symbol& left = symbol(join.at);
    Symbol& right = symbol(left.next);
    left.id = join.rule->result;
    left.next = right.next;
    right.id = static_cast<int32_t>(kNone);
    if (left.next != kNone) symbol(left.next).before = join.at;
    propose(left.before);
    propose(join.at);
  }

  const BpeTokenizer& t_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Join> joins_;
};

std::vector<int32_t> BpeTokenizer::encode(std::string_view text, const std::string& what) const {
  constexpr size_t kMaxKnown = 1 << 18;  // words
  check_text(text, what);
  std::vector<int32_t> ids;
  // Words, and where in ids they stand.
  std::unordered_map<std::string_view, std::pair<size_t, size_t>> known;
  WordEncoder encoder(*this);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = word_end(text, begin);
    const std::string_view word = text.substr(begin, end - begin);
    const size_t first = ids.size();
    if (const auto seen = known.find(word); seen != known.end()) {
      for (size_t i = 0; i < seen->second.second; ++i) ids.push_back(ids[seen->second.first + i]);
    } else {
      encoder.append(word, ids);
      if (known.size() < kMaxKnown) known.emplace(word, std::pair(first, ids.size() - first));
    }
    begin = end;
  }
  return ids;
}

BpeBuilder::BpeBuilder(StringList tokens) : by_bytes_(tokens.size()) {
  tokenizer_.tokens_ = std::move(tokens);
  for (size_t i = 0; i < by_bytes_.size(); ++i) {
    by_bytes_[i] = static_cast<int32_t>(i);
    most_merges_ += std::max<size_t>(tokenizer_.tokens_[i].size(), 1) - 1;
  }
  std::ranges::sort(by_bytes_, {}, [&](int32_t id) { return std::pair(tokenizer_.decode(id), id); });
}

bool BpeBuilder::has_bytes() const {
  const BpeTokenizer bytes;
  if (tokenizer_.size() < BpeTokenizer::kBytes) return false;
  for (int32_t id = 0; id < tokenizer_.size(); ++id) {
    const std::string_view token = tokenizer_.decode(id);
    if (id < BpeTokenizer::kBytes ? token != bytes.decode(id)
                                  : token.size() < 2 || token.size() > BpeTokenizer::kLongestToken)
      return false;
  }
  return true;
}

std::optional<Merge> BpeBuilder::twins() const {
  const auto twin =
      std::ranges::adjacent_find(by_bytes_, {}, [&](int32_t id) { return tokenizer_.decode(id); });
  if (twin == by_bytes_.end()) return std::nullopt;
  return Merge{*twin, *std::next(twin)};
}

int32_t BpeBuilder::find(std::string_view bytes) const {
  const auto id =
      std::ranges::lower_bound(by_bytes_, bytes, {}, [&](int32_t i) { return tokenizer_.decode(i); });
  return id != by_bytes_.end() && tokenizer_.decode(*id) == bytes ? *id : -1;
}

bool BpeBuilder::add(Merge pair) {
  const auto is_made = [&](int32_t id) { return id >= 0 && id < made_; };
  if (!is_made(pair.left) || !is_made(pair.right) || tokenizer_.rules_.size() == most_merges_) return false;
  joined_.assign(tokenizer_.decode(pair.left)).append(tokenizer_.decode(pair.right));
  const int32_t result = find(joined_);
  if (result < 0 || result > made_) return false;
  made_ = std::max(made_, result + 1);
  tokenizer_.rules_.push_back({pair, static_cast<int32_t>(tokenizer_.rules_.size()), result});
  return true;
}

std::optional<BpeTokenizer> BpeBuilder::finish() && {
  auto& rules = tokenizer_.rules_;
  const auto by_pair = [](const BpeTokenizer::Rule& r) { return order(r.pair); };
  std::ranges::sort(rules, {}, by_pair);
  if (made_ != tokenizer_.size() || std::ranges::adjacent_find(rules, {}, by_pair) != rules.end())
    return std::nullopt;
  return std::move(tokenizer_);
}

}  // namespace moe
