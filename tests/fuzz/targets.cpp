#include "tests/fuzz/targets.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/safetensors.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/moe_lm.h"
#include "model/text.h"
#include "model/tokenizer.h"
#include "tests/fuzz/heap.h"

// The programs' own main functions, to which tests/fuzz/CMakeLists.txt gives these names.
extern "C" int train_moe_main(int argc, char** argv);
extern "C" int generate_main(int argc, char** argv);

namespace moe::fuzz {
namespace {

namespace fs = std::filesystem;

// Besides the file's own bytes a reader may take twice as much, and this, which no file makes larger.
constexpr size_t kFixed = 1 << 19;

void hold(bool ok, const char* what) {
  if (!ok) throw std::logic_error(what);
}

// Runs `action`, whose only errors may be of kind `allowed`. Whether there was none.
template <class Action>
bool taken(ErrorKind allowed, Action&& action) {
  try {
    action();
    return true;
  } catch (const Error& e) {
    hold(e.kind() == allowed, "an error of the wrong kind");
    hold(*e.what() != 0 && std::string_view(e.what()).size() < 1000, "a message that is empty or endless");
    return false;
  }
}

template <class Action>
bool taken_within_bounds(ErrorKind allowed, size_t size, Action&& action) {
  const HeapUse heap;
  const bool ok = taken(allowed, action);
  hold(heap.most() <= 2 * size + kFixed, "more memory than twice the file");
  return ok;
}

// A folder while the program runs.
class Folder {
 public:
  Folder() {
    const fs::path memory = "/dev/shm";  // where there is one, files are made in it faster
    const fs::path parent = fs::is_directory(memory) ? memory : fs::temp_directory_path();
    std::string path = (parent / "moe-fuzz-XXXXXX").string();
    hold(::mkdtemp(path.data()) != nullptr, "no temporary folder");
    path_ = path;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

int run(int (*program)(int, char**), std::vector<std::string> arguments) {
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  return program(static_cast<int>(arguments.size()), argv.data());
}

std::vector<std::string> command(std::string program, std::string_view lines) {
  std::vector<std::string> arguments{std::move(program)};
  while (!lines.empty()) {
    const size_t end = std::min(lines.find('\n'), lines.size());
    // As the system would hand it over: up to a NUL.
    arguments.emplace_back(lines.substr(0, std::min(lines.find('\0'), end)));
    lines.remove_prefix(std::min(end + 1, lines.size()));
  }
  return arguments;
}

void same_text_from_tokens(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<int32_t> ids = tokenizer.encode(text, "TEXT");
  hold(tokenizer.decode(ids) == text, "a text does not come back from its tokens");
  Utf8Stream stream;
  std::string shown;
  for (const int32_t id : ids) {
    const std::string piece = stream.push(tokenizer.decode(id));
    check_text(piece, "PIECE");
    shown += piece;
  }
  hold(stream.finish().empty() && shown == text, "a text does not come back when it is streamed");
}

}  // namespace

void safetensors(std::string_view bytes) {
  std::string file(bytes);
  taken_within_bounds(ErrorKind::checkpoint, bytes.size(), [&] {
    const auto read = Safetensors::parse(std::move(file), "FILE");
    size_t total = 0;
    for (const auto& entry : read.entries()) total += read.bytes(entry).size();
    hold(total <= bytes.size(), "tensors of more bytes than the file has");
  });
}

void checkpoint(std::string_view bytes) {
  static const Folder folder;
  const size_t first = std::min(bytes.find('\0'), bytes.size());
  const size_t second = std::min(bytes.find('\0', first + 1), bytes.size());
  const auto write = [&](const char* name, size_t begin, size_t end) {
    begin = std::min(begin, bytes.size());
    const std::string_view text = bytes.substr(begin, std::max(begin, end) - begin);
    std::ofstream(folder.path() / name, std::ios::binary)
        .write(text.data(), static_cast<int64_t>(text.size()));
  };
  write("config.json", 0, first);
  write("tokenizer.json", first + 1, second);
  write("model.safetensors", second + 1, bytes.size());
  // Once for the files, once for the model that is made of them.
  taken_within_bounds(ErrorKind::checkpoint, bytes.size(), [&] {
    const Checkpoint c = load_checkpoint(folder.path());
    const MoeLm model(c.model, DType::f32, Device::cpu, false);
    c.copy_to(model.parameters());
  });
}

void tokenizer_json(std::string_view bytes) {
  const std::string file(bytes);
  Tokenizer tokenizer;
  if (!taken_within_bounds(ErrorKind::checkpoint, bytes.size(),
                           [&] { tokenizer = Tokenizer::from_json(file, "FILE", ErrorKind::checkpoint); }))
    return;
  hold(Tokenizer::from_json(tokenizer.to_json(), "FILE", ErrorKind::checkpoint) == tokenizer,
       "a tokenizer does not come back");
  if (tokenizer.kind() == TokenizerKind::bpe)
    same_text_from_tokens(tokenizer, "a \xc3\xa9\n  \xf0\x9f\x98\x80 abc");
}

void config_json(std::string_view bytes) {
  const std::string file(bytes);
  ModelConfig model;
  TrainConfig training;
  if (!taken_within_bounds(ErrorKind::checkpoint, bytes.size(),
                           [&] { from_json(file, "FILE", ErrorKind::checkpoint, model, training); }))
    return;
  const std::string written = to_json(model, training);
  from_json(written, "FILE", ErrorKind::checkpoint, model, training);
  hold(to_json(model, training) == written, "a configuration does not come back");
  taken(ErrorKind::usage, [&] {
    model.validate();
    training.validate(model);
  });
}

void text(std::string_view bytes) {
  static const int file = ::memfd_create("text", MFD_CLOEXEC);
  const bool written = ::ftruncate(file, 0) == 0 &&
                       ::pwrite(file, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
  hold(written, "no file in memory");
  std::string read;
  if (!taken_within_bounds(ErrorKind::data, bytes.size(),
                           [&] { read = load_text("/proc/self/fd/" + std::to_string(file)); }))
    return;
  hold(read == bytes, "a text is not read as it is");
  same_text_from_tokens(CharTokenizer::from_text(read), read);
}

void train_command(std::string_view bytes) {
  std::vector<std::string> arguments = command("train_moe", bytes);
  arguments.emplace_back("--print-config");  // leave before anything but --config and --resume is read
  const int code = run(train_moe_main, std::move(arguments));
  hold(code == 0 || (code >= 2 && code <= 4), "an exit code that train_moe does not have for its options");
}

void generate_command(std::string_view bytes) {
  std::vector<std::string> arguments = command("generate", bytes);
  arguments.insert(arguments.end(), {"--checkpoint", "/nonexistent", "--threads", "1"});
  const int code = run(generate_main, std::move(arguments));
  hold(code == 0 || code == 2 || code == 4, "an exit code that generate does not have for its options");
}

void byte_pairs(std::string_view bytes) {
  const size_t end = std::min(bytes.find('\0'), bytes.size());
  const std::string_view corpus = bytes.substr(0, end), other = bytes.substr(std::min(end + 1, bytes.size()));
  taken(ErrorKind::data, [&] {
    check_text(corpus, "CORPUS");
    const Tokenizer tokenizer = BpeTokenizer::train(corpus, 320);
    same_text_from_tokens(tokenizer, corpus);
    same_text_from_tokens(tokenizer, other);
  });
  Utf8Stream stream;  // of any bytes, one by one
  std::string shown;
  for (const char byte : bytes) shown += stream.push({&byte, 1});
  shown += stream.finish();
  std::erase(shown, '\0');
  check_text(shown, "what was shown");
}

Target find(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, Target>, 8> kTargets = {
      {{"safetensors", safetensors},
       {"checkpoint", checkpoint},
       {"tokenizer_json", tokenizer_json},
       {"config_json", config_json},
       {"text", text},
       {"train_command", train_command},
       {"generate_command", generate_command},
       {"byte_pairs", byte_pairs}}};
  const auto* target = std::ranges::find(kTargets, name, [](const auto& t) { return t.first; });
  return target == kTargets.end() ? nullptr : target->second;
}

}  // namespace moe::fuzz
