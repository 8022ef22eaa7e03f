// What compare.py asks this library for. Ids and places are 32-bit integers, in binary as everything on
// stdout.
//
//   tokenize train char|bpe VOCAB_SIZE TEXT TOKENIZER   makes tokenizer.json
//   tokenize encode TOKENIZER TEXT                      ids
//   tokenize decode TOKENIZER IDS                       the text as a program shows it that streams it
//   tokenize words TEXT                                 where each word of byte-pair encoding ends
//   tokenize tensors FILE                               NAME DTYPE SHAPE HEX, a line each

#include <fmt/format.h>

#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/safetensors.h"
#include "model/text.h"
#include "model/tokenizer.h"
#include "model/words.h"

namespace {

using namespace moe;

void put(Bytes bytes) {
  require(std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size(), "cannot write to stdout");
}

Tokenizer load(const std::string& path) {
  return Tokenizer::from_json(read_file(path, ErrorKind::data, 1 << 30), path, ErrorKind::data);
}

void decode(const Tokenizer& tokenizer, const std::string& bytes) {
  std::vector<int32_t> ids(bytes.size() / sizeof(int32_t));
  std::memcpy(ids.data(), bytes.data(), ids.size() * sizeof(int32_t));
  Utf8Stream stream;
  for (const int32_t id : ids) put(as_bytes(stream.push(tokenizer.decode(id))));
  put(as_bytes(stream.finish()));
}

void list_tensors(const Safetensors& file) {
  for (const auto& entry : file.entries()) {
    fmt::print("{} {} {} ", entry.name, name_of(entry.dtype), entry.shape.str());
    for (const std::byte b : file.bytes(entry)) fmt::print("{:02x}", static_cast<unsigned>(b));
    fmt::print("\n");
  }
}

void run(const std::vector<std::string>& a) {
  if (a.size() == 5 && a[0] == "train") {
    const auto kind = a[1] == "bpe" ? TokenizerKind::bpe : TokenizerKind::character;
    write_file(a[4], Tokenizer::from_text(load_text(a[3]), kind, std::stoll(a[2])).to_json());
  } else if (a.size() == 3 && a[0] == "encode") {
    const std::vector<int32_t> ids = load(a[1]).encode(load_text(a[2]), a[2]);
    put(std::as_bytes(std::span(ids)));
  } else if (a.size() == 3 && a[0] == "decode") {
    decode(load(a[1]), read_file(a[2], ErrorKind::data, 1 << 30));
  } else if (a.size() == 2 && a[0] == "words") {
    const std::string text = load_text(a[1]);
    std::vector<int32_t> ends;
    for (size_t at = 0; at < text.size();) ends.push_back(static_cast<int32_t>(at = word_end(text, at)));
    put(std::as_bytes(std::span(ends)));
  } else if (a.size() == 2 && a[0] == "tensors") {
    list_tensors(Safetensors::read(a[1]));
  } else {
    throw error(ErrorKind::usage, "see tests/huggingface/tokenize.cpp");
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run({argv + 1, argv + argc});
    return std::fflush(stdout) == 0 ? 0 : 1;
  } catch (const std::exception& e) {
    fmt::print(stderr, "tokenize: {}\n", e.what());
    return 1;
  }
}
