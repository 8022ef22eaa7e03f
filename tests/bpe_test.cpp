#include "model/bpe.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/byte_alphabet.h"
#include "model/text.h"
#include "model/tokenizer.h"
#include "model/unicode.h"
#include "model/words.h"
#include "tests/temp_folder.h"

using namespace moe;
using namespace std::literals;
using Catch::Matchers::Contains;

namespace {

using Ids = std::vector<int32_t>;

Ids bytes_of(std::string_view word) {
  Ids ids;
  for (const char b : word) ids.push_back(rank_of_byte(static_cast<unsigned char>(b)));
  return ids;
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = word_end(text, at);
    words.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

// Replaces the pair everywhere in a word, from the left.
void join(Ids& word, Merge pair, int32_t result) {
  for (size_t i = 0; i + 1 < word.size(); ++i)
    if (word[i] == pair.left && word[i + 1] == pair.right) {
      word[i] = result;
      word.erase(word.begin() + static_cast<ptrdiff_t>(i) + 1);
    }
}

// Counts every pair of the text anew for every merge.
std::vector<Merge> train_slowly(std::string_view text, size_t merges) {
  std::vector<Ids> words;
  for (const std::string& word : words_of(text)) words.push_back(bytes_of(word));
  std::vector<Merge> made;
  std::vector<size_t> length(256, 1);
  for (int32_t id = 256; made.size() < merges; ++id) {
    std::map<std::pair<int32_t, int32_t>, int64_t>
        counts;  // in order, so that the first of the best is taken
    for (const Ids& word : words)
      for (size_t i = 0; i + 1 < word.size(); ++i)
        if (length[word[i]] + length[word[i + 1]] <= BpeTokenizer::kLongestToken)
          ++counts[{word[i], word[i + 1]}];
    const auto best = std::ranges::max_element(counts, {}, [](auto& entry) { return entry.second; });
    if (best == counts.end() || best->second < 2) break;
    made.push_back({best->first.first, best->first.second});
    length.push_back(length[made.back().left] + length[made.back().right]);
    for (Ids& word : words) join(word, made.back(), id);
  }
  return made;
}

// The definition: as long as a pair of the word is a merge, joins the one of lowest rank, the leftmost first.
Ids encode_slowly(const BpeTokenizer& t, std::string_view text) {
  const std::vector<Merge> merges = t.merges();
  std::map<std::string, int32_t, std::less<>> id_of;
  for (int32_t id = 0; id < t.size(); ++id) id_of.emplace(t.decode(id), id);
  Ids ids;
  for (const std::string& text_word : words_of(text)) {
    Ids word = bytes_of(text_word);
    for (;;) {
      size_t best = merges.size(), at = 0;
      for (size_t i = 0; i + 1 < word.size(); ++i) {
        const auto rank =
            static_cast<size_t>(std::ranges::find(merges, Merge{word[i], word[i + 1]}) - merges.begin());
        if (rank < best) best = rank, at = i;
      }
      if (best == merges.size()) break;
      word[at] = id_of.at(std::string(t.decode(word[at])) + std::string(t.decode(word[at + 1])));
      word.erase(word.begin() + static_cast<ptrdiff_t>(at) + 1);
    }
    ids.insert(ids.end(), word.begin(), word.end());
  }
  return ids;
}

const std::string kRhyme =
    "Peter Piper picked a peck of pickled peppers.\nA peck of pickled peppers Peter Piper picked.\n\n"
    "If Peter Piper picked a peck of pickled peppers,\nwhere's the peck of pickled peppers Peter Piper "
    "picked?\n";

// Scripts and planes, joined emoji, combining marks, all kinds of white space, long runs.
const std::string kHostile =
    "na\xc3\xafve e\xcc\x81\xcc\x80 \xe2\x80\xae\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d "
    "\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x91"
    "\xef\xbc\x92 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 "
    "\xf0\xa0\x80\x80\xf3\xa0\x80\x81"
    "\xf4\x8f\xbf\xbf\xef\xbf\xbf\xed\x9f\xbf\xee\x80\x80 "
    "\t\r\n\v\f\xc2\x85\xc2\xa0\xe1\x9a\x80\xe2\x80\x83\xe2\x80\xa8"
    "\xe3\x80\x80  \x01\x7f  'tis don't'LL we'll''''s " +
    std::string(3000, 'a') + std::string(300, ' ') + std::string(500, '=');

}  // namespace

TEST_CASE("a text is cut into the words of GPT-2's pattern", "[bpe]") {
  using Words = std::vector<std::string>;
  CHECK(words_of("Hello, world!") == Words{"Hello", ",", " world", "!"});
  CHECK(words_of("it's we'll 'tis I'd've") ==
        Words{"it", "'s", " we", "'ll", " '", "tis", " I", "'d", "'ve"});
  CHECK(words_of("'S 'LL 's") == Words{"'", "S", " '", "LL", " '", "s"});
  CHECK(words_of("'re're''m") == Words{"'re", "'re", "''", "m"});
  CHECK(words_of("a1b22 33 c") == Words{"a", "1", "b", "22", " 33", " c"});
  CHECK(words_of("a   b") == Words{"a", "  ", " b"});
  CHECK(words_of("a  \n b\n\nc\n") == Words{"a", "  \n", " b", "\n", "\n", "c", "\n"});
  CHECK(words_of("a \n") == Words{"a", " \n"});
  CHECK(words_of("   ") == Words{"   "});
  CHECK(words_of(" ") == Words{" "});
  CHECK(words_of("\tx\t\ty") == Words{"\t", "x", "\t", "\t", "y"});
  CHECK(words_of(" \xc2\xa0x") == Words{" ", "\xc2\xa0", "x"});
  CHECK(words_of(" \xe3\x80\x80") == Words{" \xe3\x80\x80"});
  CHECK(words_of("e\xcc\x81t\xc3\xa9") ==
        Words{"e", "\xcc\x81", "t\xc3\xa9"});  // a combining mark is no letter
  CHECK(words_of("\xe4\xbd\xa0\xe5\xa5\xbd\xc2\xb2\xe2\x85\xa7") ==
        Words{"\xe4\xbd\xa0\xe5\xa5\xbd", "\xc2\xb2\xe2\x85\xa7"});
}

TEST_CASE("characters have the class that Unicode gives them", "[bpe]") {
  const auto count = [](CharacterClass wanted) {
    int n = 0;
    for (char32_t c = 0; c < 0x110000; ++c) n += class_of(c) == wanted;
    return n;
  };
  // As many as version 16.0 has.
  CHECK(count(CharacterClass::letter) == 141028);
  CHECK(count(CharacterClass::number) == 1911);
  CHECK(count(CharacterClass::space) == 25);
  for (const char32_t c : U"aZ\u00aa\u00df\u02b0\u0561\u4e00\uac00\U00020000\U0002a6df")
    if (c) CHECK(class_of(c) == CharacterClass::letter);
  for (const char32_t c : U"09\u00b2\u00bc\u0660\u2167\u3007\U0001d7ff")
    if (c) CHECK(class_of(c) == CharacterClass::number);
  for (const char32_t c : U"\t\n\v\f\r \u0085\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000")
    if (c) CHECK(class_of(c) == CharacterClass::space);
  for (const char32_t c : U"\u0001!\u007f\u00ad\u0301\u180e\u200b\u2060\ufeff\ue000\U0001f600\U0010ffff")
    if (c) CHECK(class_of(c) == CharacterClass::other);
}

TEST_CASE("the byte alphabet is GPT-2's", "[bpe]") {
  CHECK(to_byte_alphabet("a \n\xc3\xa9\xad\x00~\x7f"sv) ==
        "a\xc4\xa0\xc4\x8a\xc3\x83\xc2\xa9\xc5\x83\xc4\x80~\xc4\xa1");
  std::string all, back;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  CHECK(from_byte_alphabet(to_byte_alphabet(all), back));
  CHECK(back == all);
  for (const char* wrong : {" ", "\n", "\xc2\xad", "\xc5\x84", "\xe4\xbd\xa0", "a\xff", "\xc3"})
    CHECK(!from_byte_alphabet(wrong, back));
  CHECK(byte_of_rank(0) == '!');
  CHECK(byte_of_rank(188) == 0);
  for (int r = 0; r < 256; ++r) CHECK(rank_of_byte(byte_of_rank(r)) == r);
}

TEST_CASE("merges are those that counting all pairs anew each time finds", "[bpe]") {
  for (const std::string& text :
       {kRhyme, kHostile, kRhyme + kHostile + kRhyme, "aaaa aaa aaaaa"s, "abab"s, ""s}) {
    const auto wanted = train_slowly(text, 90);
    const auto t = BpeTokenizer::train(text, 256 + static_cast<int64_t>(wanted.size()));
    CHECK(t.merges() == wanted);
    CHECK(t.size() == 256 + static_cast<int64_t>(wanted.size()));
  }
}

TEST_CASE("of pairs equally frequent the one with the lowest ids is merged first", "[bpe]") {
  // Ids of letters ascend with their codes.
  const auto t = BpeTokenizer::train("dc-ba-bc-dc-ba-bc", 259);
  CHECK(t.decode(256) == "ba");
  CHECK(t.decode(257) == "bc");
  CHECK(t.decode(258) == "dc");
}

TEST_CASE("training ends when no pair occurs twice, and makes no token beyond the longest", "[bpe]") {
  CHECK(BpeTokenizer::train("abcdef", 1000).size() == 256);
  CHECK(BpeTokenizer::train("ababcd", 1000).size() == 257);
  const auto t = BpeTokenizer::train(std::string(100'000, 'x'), 5000);
  size_t longest = 0;
  for (int32_t id = 0; id < t.size(); ++id) longest = std::max(longest, t.decode(id).size());
  CHECK(longest == BpeTokenizer::kLongestToken);
  for (const int64_t size : {-1, 0, 255, (1 << 24) + 1})
    CHECK_THAT(message_of(ErrorKind::usage, [&] { BpeTokenizer::train("abab", size); }),
               Contains("--vocab-size " + std::to_string(size)));
}

TEST_CASE("words are joined by rank, the leftmost first", "[bpe]") {
  for (const std::string& corpus : {kRhyme, kHostile, "aaaa aaa aaaaa aaaaaaaaaaa"s}) {
    const auto t = BpeTokenizer::train(corpus, 330);
    for (const std::string& text :
         {kRhyme, kHostile, "peppers "s, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"s})
      CHECK(t.encode(text, "TEXT") == encode_slowly(t, text));
  }
  const auto t = BpeTokenizer::train(kRhyme, 400);
  CHECK(t.encode("", "TEXT").empty());
  CHECK(t.encode(kRhyme, "TEXT").size() < kRhyme.size() / 3);
}

TEST_CASE("a merge that makes an older token again keeps encoding as its rank says", "[bpe]") {
  // Tokens ab, abc, bc; abc twice: by (ab, c) and by (a, bc).
  StringList tokens;
  const BpeTokenizer bytes;
  for (int32_t id = 0; id < 256; ++id) tokens.add(bytes.decode(id));
  for (const char* token : {"bc", "xa", "ab", "abc", "abcd"}) tokens.add(token);
  BpeBuilder builder(tokens);
  const auto id = [&](std::string_view token) { return builder.find(token); };
  REQUIRE(builder.has_bytes());
  REQUIRE(!builder.twins());
  CHECK(builder.add({id("b"), id("c")}));
  CHECK(builder.add({id("x"), id("a")}));
  CHECK(builder.add({id("a"), id("b")}));
  CHECK(builder.add({id("ab"), id("c")}));
  CHECK(builder.add({id("abc"), id("d")}));
  CHECK(builder.add({id("a"), id("bc")}));
  const auto t = std::move(builder).finish();
  REQUIRE(t);
  CHECK(t->encode("abcabcd", "TEXT") == encode_slowly(*t, "abcabcd"));
  CHECK(t->decode(t->encode("abcd", "TEXT").at(0)) == "abcd");
}

TEST_CASE("every text comes back from the tokens of any other text", "[bpe]") {
  std::string all;
  for (char32_t c = 1; c < 0x110000; ++c)
    if (c < 0xD800 || c > 0xDFFF) append_utf8(all, c);
  for (const std::string& corpus : {kRhyme, kHostile, ""s}) {
    const Tokenizer t = BpeTokenizer::train(corpus, 400);
    for (const std::string& text : {kRhyme, kHostile, all}) {
      const auto ids = t.encode(text, "TEXT");
      CHECK((t.decode(ids) == text));
      Utf8Stream stream;
      std::string shown;
      for (const int32_t id : ids) shown += stream.push(t.decode(id));
      CHECK(stream.finish().empty());
      CHECK((shown == text));
    }
  }
  const Tokenizer t = BpeTokenizer();
  CHECK_THAT(message_of(ErrorKind::data, [&] { t.encode("ab\xff", "the prompt"); }),
             Contains("the prompt is not valid UTF-8: byte 2"));
  CHECK_THAT(message_of(ErrorKind::runtime, [&] { t.decode(256); }), Contains("[0, 256)"));
  CHECK(t.find("\n") == 198);  // as in GPT-2
  CHECK(t.find("ab") == std::nullopt);
}

TEST_CASE("a tokenizer of byte pairs comes back from tokenizer.json", "[bpe]") {
  for (const std::string& corpus : {kRhyme, kHostile, ""s}) {
    const Tokenizer t = BpeTokenizer::train(corpus, 400);
    CHECK(t.kind() == TokenizerKind::bpe);
    CHECK(Tokenizer::from_json(t.to_json(), "FILE", ErrorKind::checkpoint) == t);
    const std::string compact = nlohmann::ordered_json::parse(t.to_json()).dump();
    CHECK(Tokenizer::from_json(compact, "FILE", ErrorKind::checkpoint) == t);
  }
}

TEST_CASE("a tokenizer.json whose merges and tokens do not agree is refused with the reason", "[bpe]") {
  const auto good =
      nlohmann::ordered_json::parse(Tokenizer(BpeTokenizer::train("abcabc-abc", 300)).to_json());
  REQUIRE(good["model"]["vocab"].size() == 258);  // "ab" and "abc"
  const auto why = [&](auto&& change) {
    nlohmann::ordered_json j = good;
    change(j["model"]["vocab"], j["model"]["merges"]);
    return message_of(ErrorKind::checkpoint,
                      [&] { Tokenizer::from_json(j.dump(), "FILE", ErrorKind::checkpoint); });
  };
  using J = nlohmann::ordered_json&;
  CHECK_THAT(why([](J vocab, J) { vocab.erase("abc"); }),
             Contains("merge 1, \"ab c\", does not make a token"));
  CHECK_THAT(why([](J, J merges) { merges.erase(1); }), Contains("a word is the result of none"));
  CHECK_THAT(why([](J, J merges) { std::swap(merges[0], merges[1]); }), Contains("merge 0, \"ab c\""));
  CHECK_THAT(why([](J, J merges) { merges.push_back("a b"); }), Contains("a merge appears twice"));
  CHECK_THAT(why([](J, J merges) { merges.push_back("a c"); }), Contains("merge 2, \"a c\""));
  for (const char* broken : {"", " ", "ab", " ab", "ab ", "a b c", "a  b", "\n b"})
    CHECK_THAT(why([&](J, J merges) { merges[0] = broken; }), Contains("merge 0, "));
  CHECK_THAT(why([](J, J merges) { merges[0] = {"a", "b"}; }), Contains("merge 0 is not a string"));
  CHECK_THAT(why([](J vocab, J) { vocab["d e"] = 258; }),
             Contains("\"d e\" has characters that stand for no byte"));
  CHECK_THAT(why([](J vocab, J) { vocab["abcd"] = 259; }), Contains("\"abcd\" must have the id 258"));
  CHECK_THAT(why([](J vocab, J) { vocab[std::string(257, 'a')] = 258; }), Contains("of 2 to 256 bytes"));
  CHECK_THAT(why([](J vocab, J) { vocab.clear(); }), Contains("the single bytes"));
  nlohmann::ordered_json moved = good;
  moved["model"].erase("merges");
  moved["model"].erase("vocab");
  for (const char* list : {"merges", "vocab"}) moved["model"][list] = good["model"][list];
  CHECK_THAT(message_of(ErrorKind::checkpoint,
                        [&] { Tokenizer::from_json(moved.dump(), "FILE", ErrorKind::checkpoint); }),
             Contains("its merges must come behind its words"));
  const std::string text = good.dump(), last = R"("abc":257)";
  std::string twice = text;
  twice.replace(twice.find(last), last.size(), last + R"(,"abc":258)");
  CHECK_THAT(
      message_of(ErrorKind::checkpoint, [&] { Tokenizer::from_json(twice, "FILE", ErrorKind::checkpoint); }),
      Contains("words 257 and 258 are the same"));
}
