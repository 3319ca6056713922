// Templates of the sample world: text with slots, alternatives and optional parts (syntax in live/world.h).
//
// A Template is compiled once, with every slot resolved against what its file defines, and rendered many times. Plain
// values, thread-safe for const use.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"

namespace fathom::live::world {

/// Where something stands in a scenario file: for errors.
struct Place {
  std::string file;
  uint32_t line = 0;
};

/// Throws kInvalidArgument: "FILE:LINE: what is wrong".
[[noreturn]] void fail(const Place& place, std::string_view what);

enum class SlotKind : uint8_t {
  kValue,     // of the fact or rumour that the template belongs to
  kPrevious,  // its value before
  kClock,     // the time of the post, to five minutes
  kDaypart,   // morning, afternoon or evening at that time
  kNumber,    // low..high
  kTag,       // a hashtag of the storyline
  kLink,      // an address of the author's
  kCast,      // the name of a member of the cast
  kHandle,    // the same one's handle
  kFact,      // the current value of another fact
  kList,      // one entry of a list of the storyline
  kShared,    // one entry of a list of the common files
};

struct Slot {
  SlotKind kind = SlotKind::kValue;
  uint32_t index = 0;         // of the cast, the fact or the list
  int64_t low = 0, high = 0;  // kNumber
  bool article = false;
  bool capital = false;
  bool counted = false;
  std::string one, many;  // when counted
};

struct Node {
  enum class Kind : uint8_t { kText, kSlot, kChoice } kind = Kind::kText;
  std::string text;
  Slot slot;
  std::vector<std::vector<Node>> options;
};

struct Template {
  std::vector<Node> nodes;
  std::vector<uint32_t> facts;  // indices of all kFact slots in it: it can be used only when each has a value
  bool needs_previous = false;
  Place place;
};

/// Kind and index of a slot's name; empty when there is no such name. `handle`: it was written with '@'.
using ResolveSlot = std::function<std::optional<Slot>(std::string_view name, bool handle)>;

/// Errors: kInvalidArgument naming the place: an unclosed or unknown slot, nesting deeper than 8, text over 4 KiB.
Template parse_template(std::string_view text, const Place& place, const ResolveSlot& resolve);

/// The text of a slot before article, capital and count.
using FillSlot = std::function<std::string(const Slot& slot)>;

/// Errors: kInvalidArgument when the text grows beyond 4 KiB (lists that name each other).
std::string render(const Template& source, Random& random, const FillSlot& fill);

}  // namespace fathom::live::world
