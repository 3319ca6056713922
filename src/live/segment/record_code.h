// What a segment knows of its posts before it packs them: which values fields have, which words texts, and how often. Learnt from
// a sample once, it makes every record short by itself, however few stand beside it.
//
// A text is cut into runs of word bytes (letters, digits, _ ' # @ and all outside ASCII) and runs of the others; one space between
// two words goes without saying. A run that the segment knows is a symbol of Huffman's code (word-based Huffman: Moffat, 1989);
// another is spelled, byte by byte, by codes that depend on the kind of the byte before. A field's value (a source, an
// author's handle, the pattern of an address) is a symbol too, or spelled as a whole, or a text. A number is the symbol of its width
// and its bits.
//
// The section, packed by zstd: lengths of the codes of spelling and of numbers, a byte each; then of each table of strings how many
// (varint), their sizes (a byte each), their bytes, and the lengths of the codes. Symbols 0 and 1 of a table are: spelled, end of the
// text.
//
// RecordDecoder: immutable, any thread. RecordLearner and RecordEncoder: one thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "live/analysis.h"
#include "live/segment/bit_packing.h"
#include "live/segment/symbol_code.h"

namespace fathom::live {

enum class NumberKind : uint8_t {
  kId,        // less that of the record before
  kOwnTime,   // less that of the columns
  kReceived,  // less that of the record before
  kFollowers,
  kLikes,
  kReposts,
  kReplies,
  kViews,
  kLinks,  // how many
  kTags,
  kKinds
};
enum class ValueKind : uint8_t {
  kShape,  // what of a record is there
  kId,
  kSource,
  kHandle,
  kAuthorId,
  kName,
  kLang,
  kUrl,
  kReplyTo,
  kRepostOf,
  kQuoteOf,
  kLink,
  kTag,
  kKinds
};
inline ValueKind next(ValueKind kind) { return static_cast<ValueKind>(static_cast<uint8_t>(kind) + 1); }
inline constexpr size_t kNumberKinds = static_cast<size_t>(NumberKind::kKinds);
inline constexpr size_t kValueKinds = static_cast<size_t>(ValueKind::kKinds);
inline constexpr size_t kWidths = 65;  // of numbers, in bits

/// Codes of bytes by the kind of the byte before.
struct Spelling {
  static constexpr size_t kKinds = 8;
  static constexpr uint32_t kEnd = 256;
  static constexpr size_t kSymbols = 257;
  static size_t kind_after(unsigned char byte);  // 0: none before
};

/// Strings by number, and how often each was met.
class StringTable {
 public:
  static constexpr uint32_t kSpelled = 0, kEnd = 1, kFirst = 2;

  void learn(std::string_view string);
  void learn_end() { ++ends_; }
  /// Keeps what is frequent enough, appends it to the section, and calls left(string, count) for the others.
  template <class Left>
  void choose(std::string& section, Left&& left);
  /// The symbol of a string; kSpelled when it has none. `hash` is term_hash(string).
  uint32_t find(std::string_view string, uint64_t hash) const;
  uint32_t find(std::string_view string) const { return find(string, term_hash(string)); }
  /// Asks for what `find` will read.
  void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]); }
  void put(uint32_t symbol, CodeWriter& out) const { encoder_.put(symbol, out); }

 private:
  struct Entry {
    uint32_t begin = 0, size = 0, count = 0;
  };
  /// Short strings are told apart by this, others nearly always: the first eight bytes, the last three, the size.
  struct Key {
    Key() = default;
    explicit Key(std::string_view string);
    bool operator==(const Key&) const = default;
    uint64_t first = 0;
    uint32_t last_and_size = 0;
  };
  static constexpr size_t kKeyBytes = 11;
  struct Slot {
    uint64_t first = 0;
    uint32_t last_and_size = 0;
    uint32_t entry = 0;  // its number + 1; 0: free
  };
  static_assert(sizeof(Slot) == 16);

  std::string_view view(const Entry& entry) const {
    return std::string_view(bytes_).substr(entry.begin, entry.size);
  }
  size_t slot_of(std::string_view string, uint64_t hash) const;
  void index(size_t slots);

  std::string bytes_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;  // a power of two
  uint64_t ends_ = 0;
  SymbolEncoder encoder_;
};

/// Meets a sample until `choose`, then writes records: the same calls make up a record that is learnt and one that is put.
class RecordEncoder {
 public:
  /// Ends the learning; the section.
  std::string choose();

  void number(NumberKind kind, uint64_t value);
  void value(ValueKind kind, std::string_view value);
  void text(std::string_view text);
  CodeWriter& out() { return out_; }

 private:
  void learn_spelling(size_t purpose, std::string_view string, uint64_t count);
  void learn_text(std::string_view text);
  void put_text(std::string_view text);
  void spell(size_t purpose, std::string_view string);

  struct Run {
    std::string_view bytes;
    uint64_t hash = 0;
  };

  bool learning_ = true;
  std::vector<Run> runs_;  // of the text at hand
  CodeWriter out_;
  StringTable words_;
  std::array<StringTable, kValueKinds> values_;
  std::array<std::array<uint64_t, kWidths>, kNumberKinds> widths_{};
  std::array<SymbolEncoder, kNumberKinds> number_codes_;
  // Apart: the unknown words of texts, and values.
  std::array<std::array<std::array<uint64_t, Spelling::kSymbols>, Spelling::kKinds>, 2> spelled_{};
  std::array<std::array<SymbolEncoder, Spelling::kKinds>, 2> spelling_codes_;
};

/// Reads what RecordEncoder wrote. False or `in.ok()` false: the bytes are damaged.
class RecordDecoder {
 public:
  /// False when the bytes are not such a section.
  bool read(Bytes section);

  uint64_t number(NumberKind kind, CodeReader& in) const;
  /// Appends; false too when `out` would grow past `most` bytes.
  bool value(ValueKind kind, CodeReader& in, std::string& out, size_t most) const;
  bool text(CodeReader& in, std::string& out, size_t most) const;

 private:
  struct Strings {
    bool read(ByteReader& in);
    std::string_view operator[](uint32_t symbol) const {
      const uint32_t number = symbol - StringTable::kFirst;
      return std::string_view(bytes).substr(begins[number], begins[number + 1] - begins[number]);
    }
    std::string bytes;
    std::vector<uint32_t> begins;  // and the end
    SymbolDecoder code;
  };
  bool spelled(size_t purpose, CodeReader& in, std::string& out, size_t most) const;

  Strings words_;
  std::array<Strings, kValueKinds> values_;
  std::array<SymbolDecoder, kNumberKinds> number_codes_;
  std::array<std::array<SymbolDecoder, Spelling::kKinds>, 2> spelling_codes_;
};

}  // namespace fathom::live
