// Names from files and servers, fit for a sentence. Pure, thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace fathom::model {

/// Cut, and without bytes that would confuse a terminal.
std::string shown(std::string_view text);

}  // namespace fathom::model
