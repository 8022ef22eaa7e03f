#pragma once
// Byte-level byte-pair encoding (Sennrich et al. 2016, Radford et al. 2019): a text is cut into words
// (model/words.h), a word begins as its bytes, and neighbours are joined that the training text often has
// side by side. Every text can be encoded, whatever it was trained on, and comes back exactly.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/string_list.h"

namespace moe {

// Two tokens that are joined. Their place in the list of all merges is their rank: lower ranks join first.
struct Merge {
  int32_t left, right;
  bool operator==(const Merge&) const = default;
};

class BpeTokenizer {
 public:
  static constexpr int64_t kBytes = 256;  // tokens of a single byte, with the ids of model/byte_alphabet.h
  static constexpr int64_t kMaxVocabulary = 1 << 24;
  static constexpr size_t kLongestToken = 256;  // in bytes

  BpeTokenizer();  // has the bytes and no merge
  // Learns merges from a valid text until `vocab_size` tokens are there, or no pair occurs twice any more.
  // Each time joins the pair that occurs most often; of several the one with the lowest id on its left, then
  // on its right. Pairs that would make a token of more than kLongestToken bytes are passed over. Throws
  // ErrorKind::usage unless vocab_size is in [256, kMaxVocabulary].
  static BpeTokenizer train(std::string_view text, int64_t vocab_size);

  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  std::vector<Merge> merges() const;

  // Throws ErrorKind::data, naming `what`, for text that is not valid UTF-8 or holds NUL.
  std::vector<int32_t> encode(std::string_view text, const std::string& what) const;
  // The token's bytes, which may begin or end within a character. Ids must be in [0, size()).
  std::string_view decode(int32_t id) const;

  bool operator==(const BpeTokenizer&) const = default;

 private:
  friend class BpeBuilder;
  struct Rule {
    Merge pair;
    int32_t rank, result;
    bool operator==(const Rule&) const = default;
  };

  const Rule* find(Merge pair) const;  // nullptr: these two are not joined
  class WordEncoder;

  StringList tokens_;        // by id
  std::vector<Rule> rules_;  // sorted by pair
};

// Puts a tokenizer together from its tokens and its merges, rank by rank, and checks that they belong
// together.
class BpeBuilder {
 public:
  // Of tokens by id, of which the first 256 are the bytes.
  explicit BpeBuilder(StringList tokens);

  bool has_bytes() const;  // whether they are, each of the others is longer, and none is too long
  // Two ids of the same bytes, when there are any.
  std::optional<Merge> twins() const;
  // The token of these bytes, or -1.
  int32_t find(std::string_view bytes) const;

  // Room for as many merges, or as many different ones as these tokens can have.
  void reserve(size_t merges) { tokenizer_.rules_.reserve(std::min(merges, most_merges_)); }
  // False unless both are bytes or results of earlier merges, and the result is one as well or the next id;
  // and when so many were added that one of them was added twice.
  bool add(Merge pair);
  // nullopt when a pair was added twice, or a token is the result of no merge.
  std::optional<BpeTokenizer> finish() &&;

 private:
  BpeTokenizer tokenizer_;
  std::vector<int32_t> by_bytes_;  // ids in the order of their bytes
  int32_t made_ = BpeTokenizer::kBytes;
  size_t most_merges_ = 0;  // one for each place where a token can be cut in two
  std::string joined_;
};

}  // namespace moe
