#pragma once
// What reads from outside, as functions of any bytes. Each returns when the bytes were taken or refused with
// one of our errors of the documented kind; anything else, another exception, a crash or too much memory, is
// a defect. libFuzzer calls them in search of such bytes (scripts/fuzz.sh), tests/fuzz/corpus_test.cpp with
// those that were found.

#include <string_view>

namespace moe::fuzz {

using Target = void (*)(std::string_view bytes);

void safetensors(std::string_view bytes);  // the file
// A folder: config.json, NUL, tokenizer.json, NUL, model.safetensors.
void checkpoint(std::string_view bytes);
void tokenizer_json(std::string_view bytes);  // the file
void config_json(std::string_view bytes);     // the file
void text(std::string_view bytes);            // the file
void train_command(std::string_view bytes);   // the arguments, one a line
void generate_command(std::string_view bytes);
// Up to the first NUL a text to train on, behind it one to encode.
void byte_pairs(std::string_view bytes);

// nullptr when there is no target of that name.
Target find(std::string_view name);

}  // namespace moe::fuzz
