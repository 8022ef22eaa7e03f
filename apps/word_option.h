#pragma once
// An option whose value is a word of an enum.

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>

#include "model/config.h"

namespace moe {

template <class Enum>
CLI::Option* add_word_option(CLI::App& app, const std::string& name, Enum& value, const std::string& help) {
  const std::vector<std::string>& words = words_of<Enum>();
  return app
      .add_option_function<std::string>(
          name,
          [&value, &words](const std::string& word) {
            value = static_cast<Enum>(std::ranges::find(words, word) - words.begin());
          },
          help)
      ->check(CLI::IsMember(words).description(""))
      ->type_name(fmt::format("{}", fmt::join(words, "|")))
      ->default_str(words[static_cast<size_t>(value)]);
}

}  // namespace moe
