// Text with its origin: what a chat template wrote itself, and what came from a message.
#pragma once

#include <string>

namespace fathom::model {

/// Special tokens are recognised only in text that the template wrote.
struct Segment {
  std::string text;
  bool is_template = false;
};

}  // namespace fathom::model
