// How byte-pair encoding learns its merges.

#include <algorithm>
#include <queue>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "model/bpe.h"
#include "model/byte_alphabet.h"
#include "model/text.h"
#include "model/words.h"

namespace moe {
namespace {

constexpr int64_t kFewest = 2;  // a pair that stands in one place only says nothing about other texts

// A different word of the text, and how often it occurs.
struct Word {
  std::vector<int32_t> tokens;
  int64_t count;
};

std::vector<Word> count_words(std::string_view text) {
  std::vector<Word> words;
  std::unordered_map<std::string_view, size_t> known;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = word_end(text, begin);
    const std::string_view spelling = text.substr(begin, end - begin);
    const auto [entry, is_new] = known.try_emplace(spelling, words.size());
    if (is_new) {
      Word& word = words.emplace_back(Word{{}, 0});
      for (const char b : spelling) word.tokens.push_back(rank_of_byte(static_cast<unsigned char>(b)));
    }
    ++words[entry->second].count;
    begin = end;
  }
  return words;
}

// Counts of pairs are changed where a merge changes a word, and nowhere else.
class Training {
 public:
  explicit Training(std::string_view text) : words_(count_words(text)) {
    for (size_t w = 0; w < words_.size(); ++w)
      for (size_t i = 0; i + 1 < words_[w].tokens.size(); ++i)
        change({words_[w].tokens[i], words_[w].tokens[i + 1]}, w, words_[w].count);
    queue_changed();
  }

  // The pair that occurs most often, and more than once.
  std::optional<Merge> next() {
    while (!queue_.empty()) {
      const Candidate top = queue_.top();
      queue_.pop();
      const int64_t count = pairs_.at(key(top.pair)).count;
      if (count == top.count) return top.pair;
      if (count >= kFewest) queue_.push({count, top.pair});  // it was queued when it occurred more often
    }
    return std::nullopt;
  }

  // Makes `result` of the pair, wherever it stands. False when that was done before: other merges with the
  // same results as earlier ones have then put the two side by side again.
  bool merge(Merge pair, int32_t result) {
    Pair& p = pairs_.at(key(pair));
    const bool is_new = !std::exchange(p.merged, true);
    const std::vector<uint32_t> places = std::exchange(p.words, {});
    for (const uint32_t w : places) merge_in(w, pair, result);
    queue_changed();
    return is_new;
  }

 private:
  struct Pair {
    int64_t count = 0;
    bool merged = false;
    std::vector<uint32_t> words;  // all that hold it, and some that no longer do
  };
  struct Candidate {
    int64_t count;
    Merge pair;
    bool operator<(const Candidate& other) const {  // the last in order is the first to leave the queue
      return std::tuple(count, other.pair.left, other.pair.right) <
             std::tuple(other.count, pair.left, pair.right);
    }
  };

  static uint64_t key(Merge pair) {
    return uint64_t{static_cast<uint32_t>(pair.left)} << 32 | static_cast<uint32_t>(pair.right);
  }

  void change(Merge pair, size_t word, int64_t by) {
    Pair& p = pairs_[key(pair)];
    p.count += by;
    if (by <= 0) return;
    if (p.words.empty() || p.words.back() != word) p.words.push_back(static_cast<uint32_t>(word));
    changed_.push_back(pair);
  }

  // Pairs that became more frequent are queued again. Those that became rarer are met in next().
  void queue_changed() {
    std::ranges::sort(changed_, {}, key);
    changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
    for (const Merge pair : changed_)
      if (const int64_t count = pairs_.at(key(pair)).count; count >= kFewest) queue_.push({count, pair});
    changed_.clear();
  }

  void merge_in(size_t w, Merge pair, int32_t result) {
    std::vector<int32_t>& tokens = words_[w].tokens;
    const int64_t count = words_[w].count;
    size_t kept = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      const bool found = i + 1 < tokens.size() && tokens[i] == pair.left && tokens[i + 1] == pair.right;
      if (!found) {
        tokens[kept++] = tokens[i];
        continue;
      }
      change(pair, w, -count);
      if (kept > 0) {
        change({tokens[kept - 1], pair.left}, w, -count);
        change({tokens[kept - 1], result}, w, count);
      }
      if (i + 2 < tokens.size()) {
        change({pair.right, tokens[i + 2]}, w, -count);
        change({result, tokens[i + 2]}, w, count);
      }
      tokens[kept++] = result;
      ++i;
    }
    tokens.resize(kept);
  }

  std::vector<Word> words_;
  std::unordered_map<uint64_t, Pair> pairs_;
  std::vector<Merge> changed_;
  std::priority_queue<Candidate> queue_;
};

}  // namespace

BpeTokenizer BpeTokenizer::train(std::string_view text, int64_t vocab_size) {
  if (vocab_size < kBytes || vocab_size > kMaxVocabulary)
    throw error(ErrorKind::usage, "--vocab-size {} is not in [{}, {}]", vocab_size, kBytes, kMaxVocabulary);
  check_text(text, "the text");
  StringList tokens = BpeTokenizer().tokens_;
  std::unordered_map<std::string, int32_t> ids;
  std::vector<Merge> merges;
  Training training(text);
  while (static_cast<int64_t>(tokens.size()) < vocab_size) {
    const std::optional<Merge> pair = training.next();
    if (!pair) break;
    std::string joined(tokens[static_cast<size_t>(pair->left)]);
    joined += tokens[static_cast<size_t>(pair->right)];
    if (joined.size() > kLongestToken) continue;
    const auto [entry, is_new] = ids.try_emplace(joined, static_cast<int32_t>(tokens.size()));
    if (is_new) tokens.add(joined);
    if (training.merge(*pair, entry->second)) merges.push_back(*pair);
  }

  BpeBuilder builder(std::move(tokens));
  builder.reserve(merges.size());
  bool fits = true;
  for (const Merge pair : merges) fits = builder.add(pair) && fits;
  std::optional<BpeTokenizer> tokenizer = std::move(builder).finish();
  require(fits && tokenizer, "tokenizer: the merges that were learned do not fit together");
  return *std::move(tokenizer);
}

}  // namespace moe
