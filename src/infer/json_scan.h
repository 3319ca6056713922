// Follows JSON text byte by byte, to find where a value ends and where it stops being JSON (RFC 8259).
//
// Strings must be free of control characters and their escapes whole; that their bytes are UTF-8 and their surrogates pairs
// is not checked. A number at the top ends with the first byte that is not its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fathom::infer {

class JsonScan {
 public:
  static constexpr size_t kDeepest = 512;  // brackets within brackets; deeper is kBad

  enum class Result {
    kMore,   // the byte belongs to the value, which goes on
    kDone,   // the byte ends the value
    kEnded,  // the value ended before this byte (numbers at the top)
    kBad,    // no JSON
  };

  /// REQUIRES: no result but kMore was given before.
  Result push(uint8_t byte);

 private:
  enum class State : uint8_t {
    kValue,      // a value must come
    kFirstItem,  // a value or ]
    kFirstKey,   // a key or }
    kKey,        // a key
    kColon,
    kAfter,  // , or the bracket that closes
    kString,
    kEscape,
    kHex,
    kWord,  // true, false, null
    kMinus,
    kZero,
    kWhole,
    kPoint,
    kFraction,
    kExponent,
    kExponentSign,
    kExponentDigits,
  };

  Result value(uint8_t byte);
  Result number(uint8_t byte);
  Result string(uint8_t byte);
  Result close();
  Result end_of_value();
  Result after(uint8_t byte);

  State state_ = State::kValue;
  std::vector<bool> objects_;  // the open brackets: whether each is a brace
  bool in_key_ = false;
  int hex_left_ = 0;
  const char* word_ = "";  // what is left of it
};

}  // namespace fathom::infer
