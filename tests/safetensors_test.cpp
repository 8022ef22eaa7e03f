#include "core/safetensors.h"

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "tests/temp_folder.h"

using namespace moe;
using Catch::Matchers::Contains;

namespace {

std::string file_of(std::string_view header, size_t data_bytes = 0) {
  const uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + std::string(header) + std::string(data_bytes, 'd');
}

std::string refusal(const std::string& file) {
  const std::string message = message_of(ErrorKind::checkpoint, [&] { Safetensors::parse(file, "FILE"); });
  CHECK_THAT(message, Catch::Matchers::StartsWith("FILE: "));
  CHECK(message.size() < 300);
  return message;
}

std::string image_of(std::span<const NamedTensor> tensors, const Metadata& metadata = {}) {
  const SafetensorsImage image(tensors, metadata);
  std::string file;
  for (const Bytes& piece : image.pieces())
    file.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  return file;
}

template <class T>
Tensor iota(const Shape& shape) {
  const Tensor t = Tensor::empty(shape, dtype_of<T>());
  T value{};
  for (T& x : t.span<T>()) x = value++;
  return t;
}

std::vector<NamedTensor> some_tensors() {
  return {{"b.weight", iota<float>({2, 3})},
          {"a", iota<double>({3})},
          {"ids", iota<int64_t>({2, 1, 2})},
          {"odd", iota<int32_t>({1})},
          {"none", iota<float>({0, 4})},
          {"scalar", iota<float>({})},
          {"half", Tensor::zeros({3}, DType::bf16)}};
}

bool same(const Safetensors& file, const std::vector<NamedTensor>& tensors) {
  if (file.entries().size() != tensors.size()) return false;
  for (const NamedTensor& t : tensors) {
    const auto* e = file.find(t.name);
    if (!e || e->dtype != t.tensor.dtype() || e->shape != t.tensor.shape()) return false;
    const auto bytes = file.bytes(*e);
    if (!bytes.empty() && std::memcmp(bytes.data(), t.tensor.bytes_begin(), bytes.size()) != 0) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("named tensors of every type come back as they were", "[safetensors]") {
  const TempFolder folder;
  const auto tensors = some_tensors();
  const Metadata metadata = {{"step", "12"}, {"text", "\"quotes\", \n lines, ünïcödé"}};
  write_safetensors(folder / "x.safetensors", tensors, metadata);
  const auto file = Safetensors::read(folder / "x.safetensors");
  CHECK(same(file, tensors));
  for (const auto& [key, value] : metadata) CHECK(file.metadata().at(key) == value);
  CHECK(file.metadata().at("format") == "pt");

  const Tensor a = file.tensor("a");
  CHECK(a.shape() == Shape{3});
  CHECK(a.data<double>()[2] == 2.0);
  CHECK(!file.find("c"));
  CHECK_THAT(message_of(ErrorKind::checkpoint, [&] { file.tensor("c"); }), Contains("no tensor \"c\""));
  CHECK_THAT(message_of(ErrorKind::checkpoint, [&] { file.copy_to("a", Tensor::zeros({3}, DType::f32)); }),
             Contains("tensor \"a\" is f64 [3], not f32 [3]"));
}

TEST_CASE("a file without tensors is a file", "[safetensors]") {
  CHECK_NOTHROW(Safetensors::parse(image_of({}), "FILE"));
  CHECK_NOTHROW(Safetensors::parse(file_of("{}"), "FILE"));
}

TEST_CASE("the same tensors give the same bytes in any order, aligned to their elements", "[safetensors]") {
  auto tensors = some_tensors();
  const std::string file = image_of(tensors);
  std::reverse(tensors.begin(), tensors.end());
  CHECK(image_of(tensors) == file);
  uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  CHECK(header % 8 == 0);
  const auto read = Safetensors::parse(file, "FILE");
  for (const auto& e : read.entries()) CHECK(e.begin % size_of(e.dtype) == 0);
}

TEST_CASE("tensors that cannot be told apart are not written", "[safetensors]") {
  const Tensor t = iota<float>({1});
  for (const char* name : {"a", "__metadata__"}) {
    const std::vector<NamedTensor> tensors = {{"a", t}, {name, t}};
    CHECK_THAT(message_of(ErrorKind::runtime, [&] { image_of(tensors); }), Contains(name));
  }
  const std::vector<NamedTensor> nowhere = {{"a", Tensor::empty({1}, DType::f32, Device::meta)}};
  CHECK_THAT(message_of(ErrorKind::runtime, [&] { image_of(nowhere); }), Contains("not in host memory"));
}

TEST_CASE("a file cut short at any byte is refused", "[safetensors]") {
  const std::string file = image_of(some_tensors());
  for (size_t n = 0; n < file.size(); ++n) refusal(file.substr(0, n));
  refusal(file + "x");
}

TEST_CASE("a flipped bit never passes unnoticed in the data, nor changes a tensor through the header",
          "[safetensors]") {
  const auto tensors = some_tensors();
  const std::string file = image_of(tensors, {{"step", "12"}});
  uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  int taken = 0;
  for (size_t bit = 0; bit < 8 * file.size(); ++bit) {
    std::string flipped = file;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    try {
      const auto read = Safetensors::parse(flipped, "FILE");
      ++taken;
      INFO("bit " << bit);
      REQUIRE(bit / 8 < 8 + header);
      // A name may have become another one; then a tensor that was asked for is missing.
      for (const NamedTensor& t : tensors)
        if (const auto* e = read.find(t.name)) {
          REQUIRE(e->dtype == t.tensor.dtype());
          REQUIRE((e->shape == t.tensor.shape() || e->begin == e->end));
          const auto bytes = read.bytes(*e);
          REQUIRE((bytes.empty() || std::memcmp(bytes.data(), t.tensor.bytes_begin(), bytes.size()) == 0));
        }
    } catch (const Error& e) {
      REQUIRE(e.kind() == ErrorKind::checkpoint);
    }
  }
  CHECK(taken > 0);
}

TEST_CASE("a header that breaks the format is refused with the reason", "[safetensors]") {
  const auto why = [](const std::string& header, size_t data_bytes = 4) {
    return refusal(file_of(header, data_bytes));
  };
  const std::string dtype = R"("dtype":"F32",)", shape = R"("shape":[1],)",
                    offsets = R"("data_offsets":[0,4])";
  const std::string a = R"("a":{)" + dtype + shape + offsets + "}";
  REQUIRE_NOTHROW(Safetensors::parse(file_of("{" + a + "}  ", 4), "FILE"));

  CHECK_THAT(refusal("1234567"), Contains("only 7 bytes"));
  CHECK_THAT(refusal(std::string(8, '\xff')), Contains("longer than the 100000000 allowed"));
  CHECK_THAT(refusal(file_of("{}").substr(0, 9)), Contains("cut short"));
  CHECK_THAT(refusal(file_of("")), Contains("does not start with {"));
  CHECK_THAT(why(" {" + a + "}"), Contains("does not start with {"));
  CHECK_THAT(why("\xef\xbb\xbf{" + a + "}"), Contains("does not start with {"));
  CHECK_THAT(why("[1]"), Contains("does not start with {"));
  CHECK_THAT(why("{" + a), Contains("no valid JSON"));
  CHECK_THAT(why("{" + a + "}x"), Contains("no valid JSON"));
  CHECK_THAT(why("{" + a + "}" + std::string(1, '\0')), Contains("no valid JSON"));
  CHECK_THAT(why("{\"\xc0\xaf\":1}"), Contains("no valid JSON"));

  CHECK_THAT(why(R"({"a":1})"), Contains("a number where an object belongs"));
  CHECK_THAT(why(R"({"a":null})"), Contains("null where an object belongs"));
  CHECK_THAT(why(R"({"__metadata__":{"k":1}})"), Contains("a number where a string belongs"));
  CHECK_THAT(why(R"({"__metadata__":{"k":{}}})"), Contains("an object where a string belongs"));
  CHECK_THAT(why(R"({"__metadata__":[]})"), Contains("an array where an object belongs"));
  CHECK_THAT(why(R"({"__metadata__":{"k":"1","k":"2"}})"), Contains("\"k\" appears twice"));
  CHECK_THAT(why(R"({"__metadata__":{},"__metadata__":{}})"), Contains("__metadata__ appears twice"));

  CHECK_THAT(why(R"({"a":{)" + shape + offsets + "}}"), Contains("\"a\" lacks dtype"));
  CHECK_THAT(why(R"({"a":{)" + dtype + offsets + "}}"), Contains("\"a\" lacks shape"));
  CHECK_THAT(why(R"({"a":{)" + dtype + R"("shape":[1]}})"), Contains("\"a\" lacks data_offsets"));
  CHECK_THAT(why(R"({"a":{)" + dtype + dtype + shape + offsets + "}}"), Contains("\"a\" has dtype twice"));
  CHECK_THAT(why(R"({"a":{"x":1,)" + dtype + shape + offsets + "}}"), Contains("unknown key \"x\""));
  CHECK_THAT(why(R"({"a":{"dtype":"F16",)" + shape + offsets + "}}"),
             Contains("\"a\" has element type \"F16\""));
  CHECK_THAT(why(R"({"a":{"dtype":5,)" + shape + offsets + "}}"),
             Contains("a number where it does not belong"));

  const auto with_shape = [&](const std::string& s) {
    return why(R"({"a":{)" + dtype + R"("shape":)" + s + "," + offsets + "}}");
  };
  CHECK_THAT(with_shape("[-1]"), Contains("a negative number"));
  CHECK_THAT(with_shape("[1.0]"), Contains("no integer"));
  CHECK_THAT(with_shape("[[1]]"), Contains("an array where it does not belong"));
  CHECK_THAT(with_shape("[1,1,1,1,1]"), Contains("more than 4 dimensions"));
  CHECK_THAT(with_shape("[9223372036854775808]"), Contains("an extent of 9223372036854775808"));
  CHECK_THAT(with_shape("[99999999999999999999999]"), Contains("no integer"));
  CHECK_THAT(with_shape("[1e999]"), Contains("no valid JSON"));
  CHECK_THAT(with_shape("[4611686018427387904,4]"), Contains("does not fit its 4 bytes"));
  CHECK_THAT(with_shape("[2]"), Contains("does not fit its 4 bytes"));
  CHECK_THAT(with_shape("1"), Contains("a number where it does not belong"));

  const auto with_offsets = [&](const std::string& o) {
    return why(R"({"a":{)" + dtype + shape + R"("data_offsets":)" + o + "}}");
  };
  CHECK_THAT(with_offsets("[4]"), Contains("fewer than two data_offsets"));
  CHECK_THAT(with_offsets("[0,4,4]"), Contains("more than two data_offsets"));
  CHECK_THAT(with_offsets("[4,0]"), Contains("ends before it begins"));
  CHECK_THAT(with_offsets("[1,5]"), Contains("begins at byte 1 of the data, not at 0"));
  CHECK_THAT(why("{" + a + "}", 3), Contains("take 4 bytes, but 3 bytes"));
  CHECK_THAT(why("{" + a + "}", 5), Contains("take 4 bytes, but 5 bytes"));
  CHECK_THAT(why("{" + a + "," + a + "}", 4), Contains("begins at byte 0 of the data, not at 4"));
  const std::string overlapping = R"("b":{"dtype":"F32","shape":[2],"data_offsets":[2,10]})";
  CHECK_THAT(why("{" + a + "," + overlapping + "}", 10), Contains("begins at byte 2 of the data, not at 4"));
  const std::string empty = R"("a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  CHECK_THAT(why("{" + empty + "," + empty + "}", 0), Contains("\"a\" appears twice"));
}

TEST_CASE("a header built to exhaust memory or the stack is refused", "[safetensors]") {
  constexpr size_t kMany = 1 << 21;
  CHECK_THAT(refusal(file_of(R"({"a":)" + std::string(kMany, '['))),
             Contains("an array where an object belongs"));
  std::string nested = R"({"a":)";
  for (size_t i = 0; i < kMany / 4; ++i) nested += R"({"shape":)";
  CHECK_THAT(refusal(file_of(nested)), Contains("an object where it does not belong"));
  CHECK_THAT(refusal(file_of(R"({"a":{"shape":[)" + std::string(kMany, '1'))),
             Contains("more than 1048576 bytes"));
  CHECK_THAT(refusal(file_of("{\"" + std::string(kMany, 'a'))), Contains("more than 1048576 bytes"));
  CHECK_THAT(refusal(file_of("{\"" + std::string(kMany, ','))), Contains("more than 1048576 bytes"));
  CHECK_THAT(refusal(file_of("{" + std::string(kMany, ' ') + "}")), Contains("more than 1048576 bytes"));
  std::string metadata = R"({"__metadata__":{)";
  for (int i = 0; i < 20000; ++i) metadata += fmt::format("\"{}\":\"\",", i);
  CHECK_THAT(refusal(file_of(metadata)), Contains("more than 1000 metadata entries"));
  std::string tensors = "{";
  for (int i = 0; i < 200001; ++i)
    tensors += fmt::format(R"("{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}},)", i);
  CHECK_THAT(refusal(file_of(tensors)), Contains("more than 200000 tensors"));
}

TEST_CASE("a checksum that does not fit the data is refused, a file without one is taken", "[safetensors]") {
  const std::string tensor = R"("a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]})";
  const std::string wrong = R"({"__metadata__":{"data_crc32c":"00000000"},)" + tensor + "}";
  CHECK_THAT(refusal(file_of(wrong, 4)), Contains("damaged"));
  const auto file = Safetensors::parse(file_of("{" + tensor + "}", 4), "FILE");
  CHECK(file.tensor("a").data<int32_t>()[0] == 0x64646464);
}
