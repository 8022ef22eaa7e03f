// The programs, from outside: exit codes, what goes to which stream, and what lies on the disk afterwards.

#include <algorithm>

#include "model/checkpoint.h"
#include "model/text.h"
#include "tests/terminal.h"

using namespace moe;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string sentences(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "the " + std::to_string(i * i % 97) + " quick brown foxes\n";
  return text;
}

// A folder with a text of 25 characters' vocabulary and more in it.
struct Workshop : TempFolder {
  Workshop() { write(*this / "text.txt", sentences(200)); }

  // train_moe text.txt with a model that trains in milliseconds.
  Arguments training(const Arguments& more = {}) const {
    Arguments a{"train_moe",       "text.txt", "--n-embed",     "16", "--n-head",     "2",
                "--n-layer",       "1",        "--num-experts", "4",  "--block-size", "8",
                "--eval-interval", "3",        "--eval-iters",  "2"};
    if (std::ranges::find(more, "--max-iters") == more.end()) a.insert(a.end(), {"--max-iters", "7"});
    a.insert(a.end(), more.begin(), more.end());
    return a;
  }
};

// One line on stderr with the program's name, nothing on stdout.
void check_refused(const TempFolder& folder, const Arguments& arguments, int code, const std::string& says) {
  const Result r = run(folder, arguments);
  INFO(fmt::format("{}", fmt::join(arguments, " ")));
  INFO(r.err);
  CHECK(r.code == code);
  CHECK(r.err.starts_with(arguments[0] + ": "));
  CHECK(std::ranges::count(r.err, '\n') == 1);
  CHECK(has(r.err, says));
  CHECK(r.out.empty());
}

}  // namespace

TEST_CASE("help lists every option with its default and leaves with 0", "[cli]") {
  const TempFolder folder;
  const Result train = run(folder, {"train_moe", "--help"});
  CHECK(train.code == 0);
  for (const char* option : {"--n-embed INT=128", "--top-k INT=2", "--dropout FLOAT=0.1",
                             "--max-iters INT=5000", "--router noisy-topk|topk=noisy-topk", "--out DIR=out",
                             "--config", "--print-config", "--threads INT=0", "--device auto|cpu|cuda=auto",
                             "--tokenizer char|bpe=char", "--vocab-size INT=4096", "TEXT"})
    CHECK(has(train.out, option));
  const Result generate = run(folder, {"generate", "--help"});
  CHECK(generate.code == 0);
  for (const char* option :
       {"--tokens INT=500", "--checkpoint DIR=out", "--temperature FLOAT=1", "--top-k INT=0",
        "--top-p FLOAT=1", "--min-p FLOAT=0", "--repeat-penalty FLOAT=1", "--greedy", "--seed", "--prompt",
        "--file", "--threads INT=0"})
    CHECK(has(generate.out, option));
  CHECK(run(folder, {"replay_makemoe", "--help"}).code == 0);
  CHECK(run(folder, {"train_moe", "--version"}).code == 0);
}

TEST_CASE("--help and --version win over options that could not be carried out", "[cli]") {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "out");
  const std::string help = run(folder, {"train_moe", "--help"}).out;
  for (const Arguments& more : {Arguments{"--resume", "nowhere"},
                                {"--config", "nowhere"},
                                {"--resume"},
                                {"--top-k", "two"},
                                {"--no-such-option"}}) {
    Arguments asked{"train_moe"};
    asked.insert(asked.end(), more.begin(), more.end());
    asked.emplace_back("--help");
    const Result r = run(folder, asked);
    CHECK(r.code == 0);
    CHECK(r.out == help);
    asked.back() = "--version";
    CHECK(run(folder, asked).code == 0);
  }
  CHECK(!std::filesystem::exists(folder / "out/.lock"));
  check_refused(folder, {"report", "--text", "--help"}, 3, "out");  // here it is a name
}

TEST_CASE("what makes no sense on the command line is a usage error, code 2", "[cli]") {
  const Workshop shop;
  const auto refused = [&](const Arguments& options, const std::string& says) {
    check_refused(shop, shop.training(options), 2, says);
  };
  check_refused(shop, {"train_moe"}, 2, "TEXT");
  check_refused(shop, {"train_moe", "a.txt", "b.txt"}, 2, "b.txt");
  refused({"--no-such-option"}, "--no-such-option");
  refused({"--top-k", "two"}, "--top-k");
  refused({"--top-k", "9"}, "--top-k 9");
  refused({"--top-k", "99999999999999999999"}, "--top-k");
  refused({"--n-head", "0"}, "--n-head 0");
  refused({"--dropout", "nan"}, "--dropout");
  refused({"--router", "hash"}, "noisy-topk");
  refused({"--threads", "-1"}, "--threads");
  refused({"--threads", "1025"}, "--threads");
  refused({"--device", "tpu"}, "--device");
  refused({"--learning-rate", "0"}, "--learning-rate");
  refused({"--config", "missing.json"}, "missing.json");
  write(shop / "bad.json", "{\"format\": 1");
  refused({"--config", "bad.json"}, "bad.json");
  refused({"--noise", "always", "--router", "topk"},
          "--noise always does nothing without --router noisy-topk");
  refused({"--capacity-at", "always"}, "--capacity-at always does nothing without --capacity-factor");
  refused({"--vocab-size", "300"}, "--vocab-size 300 does nothing without --tokenizer bpe");
  refused({"--dtype", "fp16"}, "--dtype");
  refused({"--device", "cpu", "--dtype", "bf16"}, "--dtype bf16: the CPU computes in fp32");
  check_refused(shop, {"generate", "--device", "tpu"}, 2, "--device");
  check_refused(shop, {"generate", "--top-p", "2"}, 2, "--top-p");
  check_refused(shop, {"generate", "--temperature", "-1"}, 2, "--temperature");
  check_refused(shop, {"generate", "--tokens", "-1"}, 2, "--tokens");
  check_refused(shop, {"generate", "--prompt", "a", "--file", "b"}, 2, "--file");
  check_refused(shop, {"generate", "stray"}, 2, "stray");
  check_refused(shop, {"replay_makemoe"}, 2, "CASE");
}

TEST_CASE("without a GPU, auto takes the CPU and says why, and --device cuda is refused with the same words",
          "[cli]") {
  const Workshop shop;
  const Result any = run(shop, shop.training({"--dtype", "bf16"}));
  REQUIRE(any.code == 0);
  const size_t line = any.out.find("device  cpu, ");
  if (line == std::string::npos) return;  // there is a GPU
  const size_t open = any.out.find('(', line), close = any.out.find(")\n", line);
  REQUIRE(close != std::string::npos);
  const std::string said = any.out.substr(open + 1, close - open - 1),
                    precision = "; it computes in fp32, not in bf16";
  REQUIRE(said.ends_with(precision));
  const std::string why = said.substr(0, said.size() - precision.size());
  CHECK((has(why, "CUDA") || has(why, "NVIDIA") || has(why, "GPU")));
  check_refused(shop, shop.training({"--device", "cuda"}), 2, "--device cuda: " + why);
  check_refused(shop, {"generate", "--device", "cuda"}, 2, "--device cuda: " + why);
}

TEST_CASE("with byte pairs a model writes whole characters, and takes any prompt", "[cli]") {
  const Workshop shop;
  std::string text;  // of characters of two to four bytes, which single tokens cut
  for (int i = 0; i < 300; ++i) text += "\xc3\xa9t\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80\n";
  write(shop / "text.txt", text);
  const Result trained = run(shop, shop.training({"--tokenizer", "bpe", "--vocab-size", "260"}));
  REQUIRE(trained.code == 0);
  CHECK(has(trained.out, "text    text.txt: 3900 tokens, 260 different ones; 3510 train, 390 validate"));
  CHECK(load_checkpoint(shop / "out").tokenizer.kind() == TokenizerKind::bpe);
  const Result r = run(shop, {"generate", "--prompt", "\xd7\xa9!", "--tokens", "200", "--temperature", "2"});
  CHECK(r.code == 0);
  CHECK(r.out.starts_with("\xd7\xa9!"));
  std::string shown = r.out;
  std::erase(shown, '\0');
  CHECK_NOTHROW(check_text(shown, "stdout"));
  CHECK(has(r.out, "\xef\xbf\xbd"));  // hardly trained, it begins characters that it does not end
  check_refused(shop, shop.training({"--tokenizer", "bpe", "--vocab-size", "255"}), 2, "--vocab-size");
  check_refused(shop, shop.training({"--tokenizer", "words"}), 2, "--tokenizer");
}

TEST_CASE("a text that cannot be used is a data error, code 3", "[cli]") {
  const Workshop shop;
  check_refused(shop, {"train_moe", "missing.txt"}, 3, "missing.txt");
  check_refused(shop, {"train_moe", "."}, 3, "");
  write(shop / "bad.txt", "");
  check_refused(shop, {"train_moe", "bad.txt"}, 3, "bad.txt");
  write(shop / "bad.txt", "abc\xff\xfe");
  check_refused(shop, {"train_moe", "bad.txt"}, 3, "bad.txt");
  write(shop / "bad.txt", sentences(2));
  check_refused(shop, {"train_moe", "bad.txt"}, 3, "too short");
  CHECK(!std::filesystem::exists(shop / "out"));  // nothing is made before all is checked
}

TEST_CASE("a printed configuration can be read back, and options win over it wherever they stand", "[cli]") {
  const TempFolder folder;
  const Result printed = run(folder, {"train_moe", "--print-config", "--n-embed", "48", "--router", "topk",
                                      "--learning-rate", "3e-4"});
  REQUIRE(printed.code == 0);
  CHECK(has(printed.out, "\"n_embed\": 48"));
  CHECK(has(printed.out, "\"router\": \"topk\""));
  write(folder / "c.json", printed.out);
  CHECK(run(folder, {"train_moe", "--config", "c.json", "--print-config"}).out == printed.out);
  for (const Arguments& a :
       {Arguments{"train_moe", "--print-config", "--config", "c.json", "--n-embed", "64"},
        Arguments{"train_moe", "--print-config", "--n-embed", "64", "--config", "c.json"}}) {
    const std::string out = run(folder, a).out;
    CHECK(has(out, "\"n_embed\": 64"));
    CHECK(has(out, "\"router\": \"topk\""));
  }
  check_refused(folder, {"train_moe", "--print-config", "--top-k", "9"}, 2, "--top-k 9");
}

TEST_CASE("training reports in plain lines into a file and leaves a model that generates", "[cli]") {
  const Workshop shop;
  const Result trained = run(shop, shop.training());
  INFO(trained.out);
  REQUIRE(trained.code == 0);
  CHECK(trained.err.empty());
  CHECK(has(trained.out, "4 experts in each"));
  const size_t first_loss = trained.out.find("of the first batch"), first_eval = trained.out.find("  val ");
  CHECK(first_loss < first_eval);
  for (const char* step : {"step      0  train", "step      3  train", "step      6  train"})
    CHECK(has(trained.out, step));
  CHECK(has(trained.out, "sample\n"));
  CHECK(has(trained.out, "./generate\n"));
  CHECK(!has(trained.out, "\x1b"));
  CHECK(shop.temporary_files() == 0);
  CHECK(load_checkpoint(shop / "out").note("step") == "7");
  CHECK(!load_checkpoint(shop / "out/best").note("val_loss").empty());

  SECTION("text on stdout, exactly as many characters as asked for, all else on stderr") {
    const Result r = run(shop, {"generate", "--tokens", "40"});
    CHECK(r.code == 0);
    CHECK(r.out.size() == 40);
    CHECK(has(r.err, "40 tokens"));
    CHECK(run(shop, {"generate", "--tokens", "0"}).out.empty());
    CHECK(run(shop, {"generate", "--tokens", "40", "--checkpoint", "out/best"}).code == 0);
  }
  SECTION("the same seed gives the same text, for any number of threads") {
    const auto text = [&](const char* seed, const char* threads) {
      return run(shop, {"generate", "--tokens", "60", "--seed", seed, "--threads", threads}).out;
    };
    CHECK(text("1", "1") == text("1", "3"));
    CHECK(text("1", "1") != text("2", "1"));
  }
  SECTION("a prompt is printed first, from the command line or a file") {
    const Result r = run(shop, {"generate", "--tokens", "9", "--prompt", "the quick", "--greedy"});
    CHECK(r.out.starts_with("the quick"));
    CHECK(r.out.size() == 18);
    write(shop / "prompt.txt", "the quick");
    CHECK(run(shop, {"generate", "--tokens", "9", "--file", "prompt.txt", "--temperature", "0"}).out ==
          r.out);
    // Only the last block_size characters of a prompt count.
    const Result longer =
        run(shop, {"generate", "--tokens", "9", "--prompt", "foxes\nthe quick", "--greedy"});
    CHECK(longer.out.substr(15) == r.out.substr(9));
  }
  SECTION("characters the model has never seen are named, code 3") {
    check_refused(shop, {"generate", "--prompt", "the QuicK"}, 3, "'Q'");
    check_refused(shop, {"generate", "--prompt", "\xc3"}, 3, "--prompt");
    check_refused(shop, {"generate", "--file", "missing.txt"}, 3, "missing.txt");
  }
  SECTION("a model that cannot be trusted is code 4") {
    check_refused(shop, {"generate", "--checkpoint", "nowhere"}, 4, "nowhere");
    std::string bytes = file_text(shop / "out/model.safetensors");
    bytes[bytes.size() / 2] ^= 1;
    write(shop / "out/model.safetensors", bytes);
    check_refused(shop, {"generate"}, 4, "model.safetensors");
  }
  SECTION("a reader that goes away ends it quietly, a full disk does not") {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    close(ends[0]);
    Process gone(shop.path(), {"generate", "--tokens", "100000000"}, ends[1]);
    close(ends[1]);
    CHECK(gone.wait() == 0);
    CHECK(!has(gone.err(), "generate:"));
    const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    Process stuck(shop.path(), {"generate", "--tokens", "100000000"}, full);
    close(full);
    CHECK(stuck.wait() == 5);
    CHECK(has(stuck.err(), "stdout"));
  }
}

TEST_CASE("the same seed trains the same bits, for any number of threads", "[cli]") {
  const Workshop shop;
  REQUIRE(run(shop, shop.training({"--threads", "1", "--out", "a"})).code == 0);
  REQUIRE(run(shop, shop.training({"--threads", "3", "--out", "b"})).code == 0);
  REQUIRE(run(shop, shop.training({"--seed", "2", "--out", "c"})).code == 0);
  CHECK(file_text(shop / "a/model.safetensors") == file_text(shop / "b/model.safetensors"));
  CHECK(file_text(shop / "a/model.safetensors") != file_text(shop / "c/model.safetensors"));
}

TEST_CASE("a signal ends training after the step, with the model saved", "[cli]") {
  const Workshop shop;
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, {SIGTERM, 143}}) {
    const std::string out = "out" + std::to_string(code);
    Process process(shop.path(), shop.training({"--max-iters", "100000000", "--out", out}));
    REQUIRE(process.says("step      6  train"));
    process.kill(signal);
    CHECK(process.wait() == code);
    CHECK(has(process.err(), "stopping"));
    CHECK(has(process.out(), "saved   " + out));
    CHECK(std::stoll(load_checkpoint(shop / out.c_str()).note("step")) >= 6);
  }
}

TEST_CASE("a signal during an evaluation does not wait for its end", "[cli]") {
  const Workshop shop;
  Process process(shop.path(), shop.training({"--eval-iters", "1000000000"}));
  REQUIRE(process.says("of the first batch"));
  process.kill(SIGINT);
  CHECK(process.wait() == 130);
  CHECK(load_training_point(shop / "out").state.step == 0);
}

TEST_CASE("training ends, with the model saved, when nobody reads its report any more", "[cli]") {
  const Workshop shop;
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  Process process(shop.path(), shop.training({"--max-iters", "100000000"}), ends[1]);
  close(ends[1]);
  std::string report(100'000, '\0');
  size_t size = 0;
  while (report.find("step      6  train") == std::string::npos) {
    const ssize_t n = read(ends[0], report.data() + size, report.size() - size);
    REQUIRE(n > 0);
    size += static_cast<size_t>(n);
  }
  close(ends[0]);
  CHECK(process.wait() == 128 + SIGPIPE);
  CHECK(std::stoll(load_checkpoint(shop / "out").note("step")) >= 6);
}

TEST_CASE("a report that a full disk did not take is code 5, with the model saved", "[cli]") {
  const Workshop shop;
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  REQUIRE(full >= 0);
  Process process(shop.path(), shop.training(), full);
  close(full);
  CHECK(process.wait() == 5);
  CHECK(has(process.err(), "cannot write to stdout: No space left on device"));
  CHECK(std::ranges::count(process.err(), '\n') == 1);
  CHECK(load_checkpoint(shop / "out").note("step") == "7");
}

TEST_CASE("names that no folder can have are refused with the codes of folders that are not there", "[cli]") {
  const Workshop shop;
  std::filesystem::create_symlink("loop", shop / "loop");
  std::filesystem::create_directory(shop / "old");
  std::filesystem::create_symlink("step-00000003", shop / "old/step-00000003");
  for (const std::string& name :
       {std::string(300, 'x'), std::string("loop"), "text.txt/" + std::string("a")}) {
    check_refused(shop, shop.training({"--out", name}), 5, name);
    check_refused(shop, shop.training({"--resume", "auto", "--out", name}), 5, name);
    check_refused(shop, shop.training({"--resume", name}), 2, "there is no such folder");
    check_refused(shop, {"report", name}, 3, "there is no such folder");
    check_refused(shop, {"inspect_moe", name}, 4, name);
    check_refused(shop, {"generate", "--checkpoint", name}, 4, name);
  }
  check_refused(shop, shop.training({"--resume", "old"}), 4, "old/config.json");
  const std::string gone = "mkdir gone && cd gone && rmdir ../gone && exec ";
  const Result nowhere = run(shop, {"/bin/sh", "-c", gone + MOE_APPS + "/report ."});
  CHECK(nowhere.code == 5);
  CHECK(std::ranges::count(nowhere.err, '\n') == 1);
}

TEST_CASE("no memory and no disk are code 5", "[cli]") {
  const Workshop shop;
  check_refused(shop, {"train_moe", "text.txt", "--n-embed", "1048576"}, 5, "memory");
  write(shop / "file", "");
  check_refused(shop, shop.training({"--out", "file"}), 5, "file");
  const std::string train = fmt::format("{}/{}", MOE_APPS, fmt::join(shop.training(), " "));
  const Result limited = run(shop, {"/bin/sh", "-c", "ulimit -f 8; exec " + train});
  CHECK(limited.code == 5);
  CHECK(has(limited.err, "optimizer.safetensors"));
  CHECK(has(limited.err, "bytes"));
  CHECK(shop.temporary_files() == 0);
}

TEST_CASE("training that runs into infinity says so, code 6", "[cli]") {
  const Workshop shop;
  const Result r = run(shop, shop.training({"--learning-rate", "1e30"}));
  CHECK(r.code == 6);
  CHECK(has(r.err, "--learning-rate"));
  CHECK(std::ranges::count(r.err, '\n') == 1);
}

TEST_CASE("on a terminal the report has a live line, and colours unless NO_COLOR is set", "[cli]") {
  const Workshop shop;
  const std::string colorful = run_on_terminal(shop, shop.training(), "");
  const std::string plain = run_on_terminal(shop, shop.training(), "1");
  for (const std::string& text : {colorful, plain}) CHECK(has(text, "\r\x1b[K"));
  CHECK(has(colorful, "\x1b[2m"));
  CHECK(!has(plain, "\x1b[2m"));
}
