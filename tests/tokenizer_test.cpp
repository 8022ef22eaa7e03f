#include "model/tokenizer.h"

#include <string>
#include <vector>

#include "core/file.h"
#include "model/json.h"
#include "model/text.h"
#include "tests/temp_folder.h"

using namespace moe;
using namespace std::literals;
using Catch::Matchers::Contains;

namespace {

std::u32string characters_of(std::string_view text) {
  std::u32string characters;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    REQUIRE(c != kNoCharacter);
    characters += c;
  }
  return characters;
}

// Every character there is but NUL.
std::string all_of_unicode() {
  std::string text;
  for (char32_t c = 1; c < 0x110000; ++c)
    if (c < 0xD800 || c > 0xDFFF) append_utf8(text, c);
  return text;
}

// First and last characters of each length in UTF-8, the neighbours of the surrogates, and what often breaks:
// combining marks, bidirectional text, emoji joined by U+200D, a byte order mark, non-characters.
const std::string kHostile =
    "\x01\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"
    "e\xcc\x81 \xe2\x80\xae\xd7\x90 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 "
    "\xef\xbb\xbf\r\n\t\"\\/\xc2\xa0<unk>";

}  // namespace

TEST_CASE("every character survives UTF-8", "[tokenizer]") {
  const std::string text = all_of_unicode();
  const std::u32string characters = characters_of(text);
  REQUIRE(characters.size() == 0x110000 - 1 - 0x800);
  CHECK(count_characters(text) == static_cast<int64_t>(characters.size()));
  CHECK(characters.front() == 1);
  CHECK(characters.back() == 0x10FFFF);
  CHECK(std::is_sorted(characters.begin(), characters.end()));
  CHECK_NOTHROW(check_text(text, "TEXT"));
}

TEST_CASE("what is no UTF-8 is refused with its byte", "[tokenizer]") {
  const std::vector<std::string> bad = {
      "\x80",              // a trail byte alone
      "\xbf",              //
      "\xc3",              // cut short
      "\xe2\x82",          //
      "\xf0\x9f\x98",      //
      "\xc3(",             // no trail byte
      "\xe2(\xa1",         //
      "\xe2\x82(",         //
      "\xf0\x9f\x98(",     //
      "\xc0\xaf",          // overlong
      "\xc1\xbf",          //
      "\xe0\x9f\xbf",      //
      "\xf0\x8f\xbf\xbf",  //
      "\xed\xa0\x80",      // surrogates
      "\xed\xbf\xbf",      //
      "\xf4\x90\x80\x80",  // above U+10FFFF
      "\xf5\x80\x80\x80",  //
      "\xfe",              //
      "\xff",
  };
  for (const std::string& bytes : bad) {
    const std::string text = "h\xc3\xa9llo" + bytes + "x";
    CHECK(message_of(ErrorKind::data, [&] { check_text(text, "TEXT"); }) ==
          fmt::format("TEXT is not valid UTF-8: byte 6 is 0x{:02X}", static_cast<unsigned char>(bytes[0])));
    CHECK_THROWS_AS(check_text(bytes, "TEXT"), Error);
    size_t at = 6;
    CHECK(next_character(text, at) == kNoCharacter);
    CHECK(at == 6);
  }
  CHECK(message_of(ErrorKind::data, [&] { check_text("ab\0c"s, "TEXT"); }) ==
        "TEXT is not a text: byte 2 is NUL");
}

TEST_CASE("load_text returns the file unchanged, or says what is wrong with it", "[tokenizer]") {
  const TempFolder folder;
  const auto path = folder / "input.txt";
  const std::string text = "\xef\xbb\xbfone\r\ntwo\xe2\x82\xac\n";
  write_file(path, text);
  CHECK(load_text(path) == text);

  const auto why = [](const std::filesystem::path& p) {
    const std::string message = message_of(ErrorKind::data, [&] { load_text(p); });
    CHECK_THAT(message, Contains(p.string()));
    return message;
  };
  CHECK_THAT(why(folder / "missing"), Contains("No such file"));
  CHECK_THAT(why(folder.path()), Contains("folder"));
  write_file(path, "");
  CHECK_THAT(why(path), Contains("is empty"));
  write_file(path, "abc\xff");
  CHECK_THAT(why(path), Contains("not valid UTF-8: byte 3 is 0xFF"));
  write_file(path, "abc\0def"s);
  CHECK_THAT(why(path), Contains("byte 3 is NUL"));
}

TEST_CASE("ids are the places of the characters in ascending order", "[tokenizer]") {
  const auto t = CharTokenizer::from_text("hello w\xc3\xb6rld\n");
  CHECK(t.characters() == U"\n dehlorw\u00f6");
  CHECK(t.encode("\n w\xc3\xb6", "TEXT") == std::vector<int32_t>{0, 1, 8, 9});
  CHECK(t.decode(9) == "\xc3\xb6");
  CHECK(t.encode("", "TEXT").empty());
  CHECK(CharTokenizer().size() == 0);
}

TEST_CASE("any text comes back from its ids, character by character too", "[tokenizer]") {
  for (const std::string& text : {kHostile, all_of_unicode()}) {
    const Tokenizer t = CharTokenizer::from_text(text);
    const auto ids = t.encode(text, "TEXT");
    CHECK((t.decode(ids) == text));
    std::string streamed;
    for (const int32_t id : ids) streamed += t.decode(id);
    CHECK((streamed == text));
  }
}

TEST_CASE("characters that the model does not know are listed", "[tokenizer]") {
  const auto t = CharTokenizer::from_text("abc");
  CHECK(message_of(ErrorKind::data, [&] { t.encode("a\xc3\xa9\nb\xc3\xa9\xe2\x80\xae'", "the prompt"); }) ==
        "the prompt has characters that the model does not know: U+000A, ''' (U+0027), '\xc3\xa9' (U+00E9), "
        "U+202E");
  CHECK_THAT(message_of(ErrorKind::data, [&] { t.encode("0123456789ABCDE", "the prompt"); }),
             Contains("'9' (U+0039) and 5 more"));
  CHECK_THAT(message_of(ErrorKind::data, [&] { t.encode("ab\xff", "the prompt"); }),
             Contains("the prompt is not valid UTF-8: byte 2"));
  for (const int32_t id : {-1, 3})
    CHECK_THAT(message_of(ErrorKind::runtime, [&] { t.decode(id); }), Contains("[0, 3)"));
}

TEST_CASE("a tokenizer of characters comes back from tokenizer.json", "[tokenizer]") {
  for (const std::string& text : {"a"s, "hello\n"s, kHostile}) {
    const Tokenizer t = CharTokenizer::from_text(text);
    CHECK(t.kind() == TokenizerKind::character);
    CHECK(Tokenizer::from_json(t.to_json(), "FILE", ErrorKind::checkpoint) == t);
    const std::string compact = nlohmann::json::parse(t.to_json()).dump();
    CHECK(Tokenizer::from_json(compact, "FILE", ErrorKind::checkpoint) == t);
  }
  CHECK(Tokenizer::from_json(Tokenizer().to_json(), "FILE", ErrorKind::checkpoint) == Tokenizer());
}

TEST_CASE("a tokenizer.json of another form is refused with the reason", "[tokenizer]") {
  const auto good = nlohmann::ordered_json::parse(Tokenizer(CharTokenizer::from_text("abc")).to_json());
  const auto why = [&](auto&& change) {
    nlohmann::ordered_json j = good;
    change(j);
    return message_of(ErrorKind::checkpoint,
                      [&] { Tokenizer::from_json(j.dump(), "FILE", ErrorKind::checkpoint); });
  };
  using J = nlohmann::ordered_json&;
  CHECK_THAT(why([](J j) { j = 1; }), Contains("no vocabulary"));
  CHECK_THAT(why([](J j) { j["model"].erase("vocab"); }), Contains("no vocabulary"));
  CHECK_THAT(why([](J j) { j["model"]["vocab"] = nlohmann::json::array(); }), Contains("no vocabulary"));
  CHECK_THAT(why([](J j) { j["model"]["type"] = "BPE"; }), Contains("not a tokenizer"));
  CHECK_THAT(why([](J j) { j.erase("decoder"); }), Contains("not a tokenizer"));
  CHECK_THAT(why([](J j) { j["more"] = 1; }), Contains("not a tokenizer"));
  CHECK_THAT(why([](J j) { j["model"]["merges"] = J(j["added_tokens"]); }), Contains("not a tokenizer"));
  CHECK_THAT(why([](J j) { j["model"]["vocab"]["b"] = 2; }), Contains("\"b\" must have the id 1"));
  CHECK_THAT(why([](J j) { j["model"]["vocab"]["b"] = 1.0; }), Contains("must have the id 1"));
  CHECK_THAT(why([](J j) { j["model"]["vocab"]["b"] = -1; }), Contains("must have the id 1"));
  CHECK_THAT(why([](J j) { j["model"]["vocab"]["b"] = nullptr; }), Contains("must have the id 1"));
  CHECK_THAT(why([](J j) { j["model"]["vocab"]["b"] = {{"c", 1}}; }), Contains("must have the id 1"));
  CHECK_THAT(why([](J j) { j["model"]["vocab"]["bb"] = 3; }), Contains("\"bb\" is not a single character"));
  CHECK_THAT(why([](J j) { j["model"]["vocab"][""] = 3; }), Contains("\"\" is not a single character"));
  CHECK_THAT(why([](J j) { j["model"]["vocab"]["B"] = 3; }),
             Contains("'B' (U+0042) does not come behind 'c' (U+0063)"));
}

TEST_CASE("JSON that says two things or nests without end is refused", "[tokenizer]") {
  const auto why = [](std::string_view text) {
    return message_of(ErrorKind::checkpoint, [&] { parse_json(text, "FILE", ErrorKind::checkpoint); });
  };
  CHECK(why("{\n\"a\": 1,\n\"b\" 2}") == "FILE: no valid JSON in line 3");
  CHECK_THAT(why(""), Contains("no valid JSON"));
  CHECK_THAT(why("{} {}"), Contains("no valid JSON"));
  CHECK_THAT(why("{}\0"sv), Contains("no valid JSON"));
  CHECK_THAT(why("\"\xff\""), Contains("no valid JSON"));
  CHECK_THAT(why("1e999"), Contains("FILE: "));
  CHECK_THAT(why(R"({"a": {"b": 1, "c": {}, "b": 2}})"), Contains("\"b\" appears twice"));
  CHECK_THAT(why(std::string(1'000'000, '[')), Contains("deeper than 16"));
  CHECK_NOTHROW(parse_json(R"({"a": {"b": 1}, "b": {"b": 1}})", "FILE", ErrorKind::checkpoint));
  CHECK_THAT(why('"' + std::string(70'000, 'a') + '"'),
             Contains("a string or blank of more than 65536 bytes"));
  std::string many = "[0";
  for (size_t i = 0; i < kMaxJsonValues; ++i) many += ",0";
  CHECK_THAT(why(many + "]"), Contains("more than 2000 values"));
}

TEST_CASE("the members of a stream are handed over and not kept", "[tokenizer]") {
  std::string seen;
  const JsonStream streams[] = {
      {{"a", "b"},
       [&](const std::string& key, const nlohmann::json& value) { seen += key + value.dump() + " "; }},
      {{"list"},
       [&](const std::string& key, const nlohmann::json& value) { seen += key + value.dump() + " "; }}};
  const auto rest = [&](std::string_view text) {
    seen.clear();
    return parse_json(text, "FILE", ErrorKind::checkpoint, streams).dump();
  };
  CHECK(rest(R"({"a": {"x": 1, "b": {"p": 1, "p": "q"}, "y": 2}, "list": [7, null], "z": [8]})") ==
        R"({"a":{"b":{},"x":1,"y":2},"list":[],"z":[8]})");
  CHECK(seen == R"(p1 p"q" 7 null )");
  CHECK(rest(R"({"list": [[1, [2]], {"a": {"b": {"c": 1}}}, 3], "a": {"b": {"c": {"b": 1}, "d": 2}}})") ==
        R"({"a":{"b":{}},"list":[]})");
  CHECK(seen == "[] {} 3 c{} d2 ");
  for (const char* other :
       {R"({"a":1,"b":{"c":1}})", R"({"a":[{"b":{"c":1}}]})", R"([{"a":{"b":{"c":1}}}])",
        R"({"c":{"a":{"b":{"c":1}}},"d":{"b":{"c":1}}})", R"({"a":{"b":1,"c":{"d":1}}})"}) {
    CHECK(rest(other) == other);
    CHECK(seen.empty());
  }
  std::string many = R"({"list": [0)";
  for (size_t i = 0; i < 2 * kMaxJsonValues; ++i) many += ",0";
  CHECK(rest(many + "]}") == R"({"list":[]})");
  CHECK_THAT(message_of(ErrorKind::checkpoint, [&] { rest(R"({"list": [], "list": []})"); }),
             Contains("\"list\" appears twice"));
}

TEST_CASE("a stream of bytes shows whole characters only", "[tokenizer]") {
  // By pieces of every length.
  for (const size_t length : {1, 2, 3, 5, 1000}) {
    Utf8Stream stream;
    std::string text;
    for (size_t at = 0; at < kHostile.size(); at += length) {
      const std::string piece = stream.push(kHostile.substr(at, length));
      CHECK_NOTHROW(check_text(piece, "PIECE"));
      text += piece;
    }
    CHECK(stream.finish().empty());
    CHECK(text == kHostile);
  }
  const auto shown = [](const std::vector<std::string>& pieces) {
    Utf8Stream stream;
    std::string text;
    for (const std::string& piece : pieces) text += stream.push(piece) + "|";
    return text + stream.finish();
  };
  CHECK(shown({"a\xe2", "\x82", "\xac!"}) == "a||\xe2\x82\xac!|");
  CHECK(shown({"\xe2\x82"}) == "|\xef\xbf\xbd");
  CHECK(shown({"\xe2\x82", "a"}) ==
        "|\xef\xbf\xbd"
        "a|");
  // The Unicode Standard's example of U+FFFD for maximal subparts (table 3-8 of version 15).
  CHECK(shown({"\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64"}) ==
        "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
        "b\xef\xbf\xbd"
        "c\xef\xbf\xbd\xef\xbf\xbd"
        "d|");
}
