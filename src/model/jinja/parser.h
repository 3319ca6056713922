// Template text to its parsed form. Errors: kInvalidArgument or kUnsupported, naming the line; kResourceExhausted for a
// template that is longer than kMaxTemplate or nests deeper than kMaxHeight.
#pragma once

#include <string_view>

#include "model/jinja/ast.h"

namespace fathom::model::jinja {

inline constexpr size_t kMaxTemplate = size_t{1} << 20;

Body parse(std::string_view source);

}  // namespace fathom::model::jinja
