#pragma once
// The characters by which a tokenizer.json of byte-level tokens names the 256 bytes, as in GPT-2.
//
// Bytes that are visible characters in Latin-1 stand for themselves; the others are U+0100, U+0101, ... in
// their order, so that a blank is written as U+0120. A byte has as well a rank, its place when the bytes are
// sorted by their characters: the token of a single byte has the byte's rank as its id.

#include <cstdint>
#include <string>
#include <string_view>

namespace moe {

unsigned char byte_of_rank(int32_t rank);  // of [0, 256)
int32_t rank_of_byte(unsigned char byte);

std::string to_byte_alphabet(std::string_view bytes);
// False, with `bytes` in any state, for text that has other characters or is not UTF-8.
bool from_byte_alphabet(std::string_view text, std::string& bytes);

}  // namespace moe
