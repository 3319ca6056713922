// Posts that speak to a machine instead of to people: orders to an assistant, control tokens of chat templates, forged calls
// and turns, characters that hide what is written.
//
// A cue lowers a post's trust below what may be cited (evidence.h); it protects no prompt by itself. That posts cannot form
// control tokens, marks or lines of ours is seen to where they are shown (compose.h: as_data, quoted), and that nothing is
// said which no post says by the check. Talk about language models is no order to one.
//
// Pure; thread-safe.
#pragma once

#include <string_view>

namespace fathom::answer {

/// Whether `text` (a post's, or its author's name) gives orders to whoever reads it by machine. Any bytes.
bool orders_machine(std::string_view text);

}  // namespace fathom::answer
