#pragma once
// How byte-pair encoding cuts a text into words, none of whose tokens reaches into another word.

#include <cstddef>
#include <string_view>

namespace moe {

// The end of the word that begins at text[begin]; `begin` must be inside and the text valid UTF-8. Words are
// the matches of the pattern of GPT-2, which leaves nothing out:
//
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// So a word takes the blank before it along, and of a longer run of white space all but its last character is
// a word of its own.
size_t word_end(std::string_view text, size_t begin);

}  // namespace moe
