#include "infer/json_scan.h"

#include <string_view>

namespace fathom::infer {
namespace {

bool is_blank(uint8_t b) { return b == ' ' || b == '\t' || b == '\n' || b == '\r'; }
bool is_digit(uint8_t b) { return b >= '0' && b <= '9'; }
bool is_hex(uint8_t b) { return is_digit(b) || ((b | 32) >= 'a' && (b | 32) <= 'f'); }

}  // namespace

JsonScan::Result JsonScan::end_of_value() {
  if (objects_.empty()) return Result::kDone;
  state_ = State::kAfter;
  return Result::kMore;
}

JsonScan::Result JsonScan::close() {
  objects_.pop_back();
  return end_of_value();
}

JsonScan::Result JsonScan::value(uint8_t byte) {
  switch (byte) {
    case '{':
    case '[':
      if (objects_.size() >= kDeepest) return Result::kBad;
      objects_.push_back(byte == '{');
      state_ = byte == '{' ? State::kFirstKey : State::kFirstItem;
      return Result::kMore;
    case '"':
      in_key_ = false;
      state_ = State::kString;
      return Result::kMore;
    case 't': word_ = "rue"; break;
    case 'f': word_ = "alse"; break;
    case 'n': word_ = "ull"; break;
    case '-': state_ = State::kMinus; return Result::kMore;
    case '0': state_ = State::kZero; return Result::kMore;
    default: state_ = State::kWhole; return is_digit(byte) ? Result::kMore : Result::kBad;
  }
  state_ = State::kWord;
  return Result::kMore;
}

JsonScan::Result JsonScan::string(uint8_t byte) {
  if (state_ == State::kHex) {
    if (--hex_left_ == 0) state_ = State::kString;
    return is_hex(byte) ? Result::kMore : Result::kBad;
  }
  if (state_ == State::kEscape) {
    state_ = byte == 'u' ? State::kHex : State::kString;
    hex_left_ = 4;
    constexpr std::string_view kKnown = "\"\\/bfnrtu";
    return kKnown.find(static_cast<char>(byte)) != std::string_view::npos ? Result::kMore : Result::kBad;
  }
  if (byte == '\\') state_ = State::kEscape;
  if (byte != '"') return byte >= 0x20 ? Result::kMore : Result::kBad;
  if (!in_key_) return end_of_value();
  state_ = State::kColon;
  return Result::kMore;
}

JsonScan::Result JsonScan::number(uint8_t byte) {
  const bool exponent = byte == 'e' || byte == 'E';
  const auto go = [&](State to) {
    state_ = to;
    return Result::kMore;
  };
  switch (state_) {
    case State::kMinus:
      if (byte == '0') return go(State::kZero);
      return is_digit(byte) ? go(State::kWhole) : Result::kBad;
    case State::kZero:
    case State::kWhole:
      if (is_digit(byte)) return state_ == State::kWhole ? Result::kMore : Result::kBad;
      if (byte == '.') return go(State::kPoint);
      break;
    case State::kPoint: return is_digit(byte) ? go(State::kFraction) : Result::kBad;
    case State::kFraction:
      if (is_digit(byte)) return Result::kMore;
      break;
    case State::kExponent:
      if (byte == '+' || byte == '-') return go(State::kExponentSign);
      return is_digit(byte) ? go(State::kExponentDigits) : Result::kBad;
    case State::kExponentSign: return is_digit(byte) ? go(State::kExponentDigits) : Result::kBad;
    default:  // kExponentDigits
      if (is_digit(byte)) return Result::kMore;
      break;
  }
  if (exponent && state_ != State::kExponentDigits) return go(State::kExponent);
  if (objects_.empty()) return Result::kEnded;
  state_ = State::kAfter;
  return after(byte);
}

JsonScan::Result JsonScan::after(uint8_t byte) {
  if (is_blank(byte)) return Result::kMore;
  const bool object = objects_.back();
  if (byte == (object ? '}' : ']')) return close();
  state_ = object ? State::kKey : State::kValue;
  return byte == ',' ? Result::kMore : Result::kBad;
}

JsonScan::Result JsonScan::push(uint8_t byte) {
  switch (state_) {
    case State::kString:
    case State::kEscape:
    case State::kHex: return string(byte);
    case State::kWord:
      if (byte != static_cast<uint8_t>(*word_)) return Result::kBad;
      return *++word_ == '\0' ? end_of_value() : Result::kMore;
    case State::kMinus:
    case State::kZero:
    case State::kWhole:
    case State::kPoint:
    case State::kFraction:
    case State::kExponent:
    case State::kExponentSign:
    case State::kExponentDigits: return number(byte);
    case State::kAfter: return after(byte);
    default: break;
  }
  if (is_blank(byte)) return Result::kMore;
  switch (state_) {
    case State::kFirstItem:
      if (byte == ']') return close();
      return value(byte);
    case State::kFirstKey:
    case State::kKey:
      if (byte == '}' && state_ == State::kFirstKey) return close();
      in_key_ = true;
      state_ = State::kString;
      return byte == '"' ? Result::kMore : Result::kBad;
    case State::kColon: state_ = State::kValue; return byte == ':' ? Result::kMore : Result::kBad;
    default: return value(byte);
  }
}

}  // namespace fathom::infer
