// Small helpers on UTF-8 text that more than one floor needs. All are pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

/// Decodes the code point that starts at `text[at]` and moves `at` past it. An ill-formed sequence gives U+FFFD and
/// moves past its maximal subpart (Unicode 15, section 3.9). REQUIRES: at < text.size().
char32_t decode_utf8(std::string_view text, size_t& at);

/// Appends the UTF-8 form of a code point; a surrogate or a value past U+10FFFF becomes U+FFFD.
void append_utf8(std::string& out, char32_t code_point);

bool is_valid_utf8(std::string_view text);

/// Ill-formed sequences replaced by U+FFFD.
std::string sanitize_utf8(std::string_view text);

/// How many bytes at the end of `text` begin a character that is not complete yet (0..3): what a stream holds back.
size_t incomplete_utf8_tail(std::string_view text);

std::string_view trim(std::string_view text);  // ASCII white space off both ends
std::string to_lower_ascii(std::string_view text);
bool equals_ignore_case(std::string_view a, std::string_view b);  // ASCII

/// The pieces between separators, empty ones too; views into `text`.
std::vector<std::string_view> split(std::string_view text, char separator);

}  // namespace fathom
