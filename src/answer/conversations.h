// Conversations that are kept: questions, answers and what they rest on, in a folder of their own (RocksDB).
//
// Each belongs to an owner (the name of an API key; empty where none is needed); nobody is shown another's. They are listed
// newest first, found by the words of their items, and deleted for good: when `remove` returns, no file of the folder holds
// their text any more. Words stand in the search keys as keyed hashes alone, so that RocksDB's own records hold none either.
//
// Keys, all beginning with a letter and the owner (2 bytes of length, big-endian, and its bytes), but for the first two:
//   "f" -> format   "s" -> secret of the hashes
//   "c" owner id -> head (JSON)              "i" owner id sequence -> item
//   "u" owner time id -> ""                  newest first: the time is inverted
//   "t" owner hash id sequence -> ""         one for each word of an item
// Numbers in keys are 8 bytes, big-endian. An item is its id, role, text, body and hashes, each behind its length (4 bytes,
// little-endian).
//
// Ownership: owns the folder while open, one process at a time; the clock outlives it. Thread-safe.
//
// Invariants:
//  (1) what a call wrote survives a crash from when it returns, all of it or, when it did not return, perhaps nothing;
//  (2) what an owner can make it keep is bounded by `ConversationLimits`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace fathom::answer {

/// Of one owner, but for the last.
struct ConversationLimits {
  size_t conversations = 10'000;
  uint64_t bytes = uint64_t{512} << 20;              // of all items
  size_t items = 4096;                               // of one conversation
  uint64_t conversation_bytes = uint64_t{32} << 20;  // of its items
  size_t item_bytes = size_t{4} << 20;
  size_t metadata_bytes = 16 * 1024;
};

/// A message, a call or a result, in the order of the conversation.
struct ConversationItem {
  std::string id;    // unique in its conversation
  std::string role;  // "user", "assistant", "system", ...; empty: not a message
  std::string text;  // what is searched; of user messages the conversation's title
  std::string body;  // what it is to those who read it: kept as it is
};

struct Conversation {
  std::string id;  // "conv_" and 32 random hex digits
  Time created{}, updated{};
  std::string title;            // as given; empty: none was
  std::string opening;          // the first question, cut
  std::string metadata = "{}";  // kept as it is
  size_t items = 0, turns = 0;  // turns: messages of the role "user"
  uint64_t bytes = 0;           // of all items
};

struct FoundConversation {
  Conversation conversation;
  std::string snippet;  // where the words stand
};

class Conversations {
 public:
  /// Errors: kCorrupt (damaged), kUnsupported (written by a later version), kIo (also: in use by another process).
  static std::unique_ptr<Conversations> open(const std::filesystem::path& folder, const Clock& clock,
                                             const ConversationLimits& limits = {});
  virtual ~Conversations() = default;

  // Errors of all below: kIo (a full disk too) and kCorrupt of the database; kResourceExhausted beyond a limit, which the
  // sentence names, before anything is written. Ids that are not there, or another owner's: empty or false.

  virtual Conversation create(const std::string& owner, const std::string& title, const std::string& metadata,
                              const std::vector<ConversationItem>& items) = 0;
  virtual std::optional<Conversation> find(const std::string& owner, const std::string& id) const = 0;
  /// Replaces title and metadata; the conversation keeps its place in the list.
  virtual std::optional<Conversation> describe(const std::string& owner, const std::string& id,
                                               const std::string& title, const std::string& metadata) = 0;
  virtual std::optional<Conversation> append(const std::string& owner, const std::string& id,
                                             const std::vector<ConversationItem>& items) = 0;

  /// The newest first; those that come after the conversation `after` (empty: from the first).
  virtual std::vector<Conversation> list(const std::string& owner, const std::string& after,
                                         size_t limit) const = 0;
  /// Those in which every word of `words` stands, in whatever item, with live/analysis.h deciding what a word is; the newest
  /// first, after `after`. None for a text without words.
  virtual std::vector<FoundConversation> search(const std::string& owner, std::string_view words,
                                                const std::string& after, size_t limit) const = 0;
  virtual std::vector<ConversationItem> items(const std::string& owner, const std::string& id) const = 0;

  virtual bool remove_item(const std::string& owner, const std::string& id, const std::string& item) = 0;
  virtual bool remove(const std::string& owner, const std::string& id) = 0;
  /// All of the owner's. Returns how many there were.
  virtual size_t remove_all(const std::string& owner) = 0;

  virtual const ConversationLimits& limits() const = 0;
};

}  // namespace fathom::answer
