// Every target with every input in its folder of tests/fuzz/corpus, and with long files, whose memory is
// measured.

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "core/safetensors.h"
#include "model/tokenizer.h"
#include "tests/catch.h"
#include "tests/fuzz/targets.h"

using namespace moe;

namespace {

// stdout and stderr lead nowhere while it lives.
class Silence {
 public:
  Silence() : out_(dup(1)), err_(dup(2)) {
    std::fflush(nullptr);
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, 1);
    dup2(null, 2);
    close(null);
  }
  ~Silence() {
    std::fflush(nullptr);
    dup2(out_, 1);
    dup2(err_, 2);
    close(out_);
    close(err_);
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  int out_, err_;
};

void check_corpus(const std::string& target) {
  int inputs = 0;
  for (const auto& file : std::filesystem::directory_iterator(MOE_FUZZ_CORPUS "/" + target)) {
    std::ifstream in(file.path(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    INFO(file.path());
    const auto call = [&] {
      const Silence silence;
      fuzz::find(target)(bytes);
    };
    CHECK_NOTHROW(call());
    ++inputs;
  }
  CHECK(inputs > 0);
}

// A text of different words, so that byte pairs find many merges.
std::string long_text() {
  std::string text;
  uint64_t state = 1;
  for (int word = 0; word < 60'000; ++word) {
    for (int letters = 0; letters < 8; ++letters) {
      state = state * 6364136223846793005 + 1442695040888963407;
      text += static_cast<char>('a' + (state >> 33) % 26);
    }
    text += ' ';
  }
  return text;
}

// A tokenizer.json without the blanks between its words.
std::string compact(const std::string& file) {
  std::istringstream lines(file);
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    line.erase(0, line.find_first_not_of(' '));
    if (const size_t colon = line.rfind(": "); colon != std::string::npos) line.erase(colon + 1, 1);
    text += line;
  }
  return text;
}

}  // namespace

TEST_CASE("no known input breaks the reader of safetensors", "[fuzz]") {
  check_corpus("safetensors");
}
TEST_CASE("no known input breaks the reader of checkpoints", "[fuzz]") {
  check_corpus("checkpoint");
}
TEST_CASE("no known input breaks the reader of tokenizer.json", "[fuzz]") {
  check_corpus("tokenizer_json");
}
TEST_CASE("no known input breaks the reader of config.json", "[fuzz]") {
  check_corpus("config_json");
}
TEST_CASE("no known input breaks the reader of texts", "[fuzz]") {
  check_corpus("text");
}
TEST_CASE("no known command line breaks train_moe", "[fuzz]") {
  check_corpus("train_command");
}
TEST_CASE("no known command line breaks generate", "[fuzz]") {
  check_corpus("generate_command");
}
TEST_CASE("no known text breaks byte pairs", "[fuzz]") {
  check_corpus("byte_pairs");
}

TEST_CASE("reading a tokenizer.json takes no more than twice its length", "[fuzz]") {
  const Tokenizer pairs = BpeTokenizer::train(long_text(), 20'000);
  REQUIRE(pairs.size() == 20'000);
  std::u32string many;
  for (char32_t c = 0xE000; c < 0x30000; ++c) many += c;
  for (const Tokenizer& t : {pairs, Tokenizer(CharTokenizer(many))}) {
    const std::string file = t.to_json();
    CHECK_NOTHROW(fuzz::tokenizer_json(file));
    CHECK_NOTHROW(fuzz::tokenizer_json(compact(file)));
    CHECK(Tokenizer::from_json(compact(file), "FILE", ErrorKind::checkpoint) == t);
  }
  std::string repeated = compact(Tokenizer(BpeTokenizer::train("abab", 257)).to_json());
  std::string merges;
  for (int i = 0; i < 100'000; ++i) merges += R"("a b",)";
  repeated.insert(repeated.find(R"("a b")"), merges);
  CHECK_NOTHROW(fuzz::tokenizer_json(repeated));
}

TEST_CASE("reading JSON of many values, or of one long one, takes no more than twice its length", "[fuzz]") {
  std::string numbers = "[", keys = "{", words = R"({"model":{"vocab":{)", merges = R"({"model":{"merges":[)";
  for (int i = 0; i < 300'000; ++i) {
    numbers += "1,";
    keys += fmt::format("\"{}\":[],", i);
    words += fmt::format("\"\":{},", i);
    merges += "\"\",";
  }
  for (const std::string& file :
       {numbers, keys, words, merges, "\"" + std::string(3'000'000, 'a'), std::string(3'000'000, ' '),
        std::string(3'000'000, '['), std::string(3'000'000, '1')}) {
    CHECK_NOTHROW(fuzz::tokenizer_json(file));
    CHECK_NOTHROW(fuzz::config_json(file));
  }
}

TEST_CASE("reading a header of safetensors takes no more than twice the file", "[fuzz]") {
  const auto file_of = [](const std::string& header) {
    const uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header;
  };
  std::string tensors = "{", notes = R"({"__metadata__":{)";
  for (int i = 0; i < 100'000; ++i) {
    tensors += fmt::format(R"({}"{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})", i ? "," : "", i);
    notes += fmt::format(R"("{}":"",)", i);
  }
  REQUIRE_NOTHROW(Safetensors::parse(file_of(tensors + "}"), "FILE"));
  for (const std::string& header : {tensors + "}", tensors, notes, "{\"" + std::string(3'000'000, 'a')})
    CHECK_NOTHROW(fuzz::safetensors(file_of(header)));
}

TEST_CASE("reading a text takes no more than twice its length", "[fuzz]") {
  CHECK_NOTHROW(fuzz::text(std::string(5'000'000, 'a')));
  CHECK_NOTHROW(fuzz::text(std::string(5'000'000, '\xff')));
}
