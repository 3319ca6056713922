// A source that holds secrets, wrapped so that none of them leaves it in words: servers echo what they were sent, and
// errors carry what servers said.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "live/source.h"

namespace fathom::live {

/// Errors, warnings and rejections of `source` with each of `secrets` replaced by "***".
std::unique_ptr<Source> redacted(std::unique_ptr<Source> source, std::vector<std::string> secrets);

}  // namespace fathom::live
